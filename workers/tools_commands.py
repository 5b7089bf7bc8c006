"""`replymill tools`: what is registered, and what a message would call."""

import asyncio
import secrets
from typing import Annotated, Any

import typer

from workers.commanding import AsJson, loaded, part, print_json, print_rows

tools = typer.Typer(help="Tools that a rule calls, such as the state of an order.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="Whose tools; by default those of the chat page.")]
Language = Annotated[str, typer.Option(help="The language of the message, such as en.")]


@tools.command()
def check(as_json: AsJson = False) -> None:
    """Check the file of REPLYMILL_TOOLS and list what it registers."""
    rows = [
        {
            "tool": tool.name,
            "calls": f"{tool.method} {tool.url}",
            "rules": len(tool.rules),
            "asks for": ", ".join(f"{name} ({one.kind})" for name, one in tool.parameters.items()),
            "tenants": ", ".join(sorted(tool.tenants)) or "all",
        }
        for tool in _registered()
    ]
    print_rows("Tools", rows, as_json=as_json, nothing="no tool is registered: see REPLYMILL_TOOLS and docs/tools.md")


@tools.command("try")
def try_out(
    message: Annotated[str, typer.Argument(help="What a customer would write.")],
    tenant: Tenant = "default",
    language: Language = "en",
    send: Annotated[bool, typer.Option("--send", help="Make the call, and print what the person would be told.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show which tool a message calls, its parameters and the request; --send makes it."""
    found = _registered().match(message, language, tenant)
    told = _told(found, tenant)
    if send and isinstance(found, part("tools").Call):
        told |= asyncio.run(_sent(found, tenant))
    if as_json:
        print_json(told)
    else:
        print("\n".join(f"{name}: {value}" for name, value in told.items()))


def _registered() -> Any:
    return part("tools_file").load(loaded())


def _told(found: Any, tenant: str) -> dict[str, Any]:
    """What a match means; secrets are not filled in."""
    if found is None:
        return {"tool": None, "means": "no rule calls a tool for this message and tenant"}
    if isinstance(found, part("tools").Ask):
        asked = {"asks": found.text, "for": found.parameter}
        return {"tool": found.tool.name, "parameters": dict(found.known), **asked, **_choices(found)}
    hidden = {name: f"(secret {name})" for name in part("tools_file").secrets_of(loaded())}
    request = part("tool_requests").request_of(found, hidden, tenant=tenant, sender="sender", message="message")
    body = {"body": request.body.decode()} if request.body else {}
    sent = {"request": f"{request.method} {request.url}", "headers": dict(request.headers), **body}
    return {"tool": found.tool.name, "parameters": dict(found.parameters), **sent}


def _choices(found: Any) -> dict[str, Any]:
    return {"choices": list(found.choices)} if found.choices else {}


async def _sent(call: Any, tenant: str) -> dict[str, Any]:
    caller = part("tool_calls").Caller(part("tools_file").secrets_of(loaded()), connections=1)
    try:
        said = await caller.call(call, tenant=tenant, sender="replymill-try", message=f"try-{secrets.token_hex(8)}")
    except part("errors").ToolFailed as error:
        said = part("tool_answers").failed(call, str(error))
    finally:
        await caller.close()
    return {"result": str(said.result), "reply": said.text, **({"reason": said.reason} if said.reason else {})}
