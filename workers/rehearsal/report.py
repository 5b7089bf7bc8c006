"""What came of a rehearsal: for people, for machines, and for whoever reads JUnit's XML."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.rehearsal.run import Verdict

#: What XML 1.0 cannot hold.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def name_of(verdict: Verdict) -> str:
    """Such as `Return of a parcel (2 of 3)`."""
    repeated = f" ({verdict.round} of {verdict.case.repeat})" if verdict.case.repeat > 1 else ""
    return verdict.case.name + repeated


def told(verdict: Verdict) -> str:
    """What went wrong, in lines."""
    fault = verdict.fault
    if fault is None:
        return ""
    said = "(nothing)" if fault.said is None else fault.said
    lines = [f"{verdict.suite.path}:{fault.line}: {name_of(verdict)}, turn {fault.turn}"]
    lines += [f"  asked: {fault.asked}", f"  said:  {said}", *(f"  - {failure}" for failure in fault.failures)]
    return "\n".join(lines)


def figures(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """As one line of JSON."""
    failed = [verdict for verdict in verdicts if verdict.fault]
    return {
        "conversations": len(verdicts),
        "passed": len(verdicts) - len(failed),
        "failed": len(failed),
        "results": [_result(verdict) for verdict in verdicts],
    }


def _result(verdict: Verdict) -> dict[str, Any]:
    fault = verdict.fault
    known = {"file": str(verdict.suite.path), "name": verdict.case.name, "tags": verdict.case.tags, "round": verdict.round}
    known |= {"seconds": round(verdict.seconds, 3), "passed": fault is None}
    if fault is None:
        return known
    return known | {"line": fault.line, "turn": fault.turn, "asked": fault.asked, "said": fault.said, "failures": fault.failures}


def write_junit(path: Path, verdicts: Sequence[Verdict]) -> None:
    """A test suite for each file."""
    root = ET.Element("testsuites", name="replymill test")
    for file in dict.fromkeys(verdict.suite.path for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.suite.path == file]
        suite = ET.SubElement(root, "testsuite", name=str(file), time=f"{sum(one.seconds for one in own):.3f}")
        suite.set("tests", str(len(own)))
        suite.set("failures", str(sum(verdict.fault is not None for verdict in own)))
        for verdict in own:
            case = ET.SubElement(
                suite, "testcase", name=_clean(name_of(verdict)), classname=file.stem, time=f"{verdict.seconds:.3f}"
            )
            if verdict.fault:
                failure = ET.SubElement(case, "failure", message=_clean("; ".join(verdict.fault.failures)))
                failure.text = _clean(told(verdict))
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
