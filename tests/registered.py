"""Tools that tests register: the state of an order, its cancellation, a visit of somebody on a day."""

import dataclasses
from pathlib import Path
from typing import Any

from engine.settings import Settings

#: Its places are the address of the shop.
TOML = """
[cancel_order]
url = "{url}/orders/{{order}}/cancel"
method = "POST"
private = true
tenants = ["shop"]
headers = {{ Authorization = "Bearer {{secret.shop}}" }}
body = {{ order = "{{order}}", by = "{{sender}}", why = "{{reason}}" }}
on_error = "person"
timeout = 2
rules.en.patterns = ['\\bcancel\\b.*\\border\\b']
fields.state = "order.state"
say.en = {{ reply = "Order {{order}} is {{state}}.", not_found = "There is no order {{order}}.", error = "A person helps." }}
[cancel_order.parameters.order]
type = "string"
pattern = '\\d{{5,8}}'
ask.en = "Which order shall I cancel?"
[cancel_order.parameters.reason]
type = "enum"
values = {{ late = ["It comes too late", "too late"], other = ["Another reason", "other"] }}
ask.en = "Why?"

[order_status]
url = "{url}/orders/{{order}}"
private = true
headers = {{ authorization = "Bearer {{secret.shop}}" }}
found = "order"
timeout = 2

[order_status.rules.en]
patterns = ['\\border (?:number |no\\.? )?(?P<order>\\d{{5,8}})\\b']
keywords = ["where is my ... order", "order status", "track* ... parcel"]
[order_status.rules.de]
keywords = ["wo ist meine ... bestellung"]
[order_status.rules.zh]
keywords = ["订单状态"]

[order_status.parameters.order]
type = "string"
pattern = '\\d{{5,8}}'
ask = {{ en = "Which order number?", de = "Welche Bestellnummer?" }}

[order_status.fields]
state = "order.state"
carrier = "order.parcels[0].carrier"
[order_status.words.state.shipped]
en = "on its way"
de = "unterwegs"

[order_status.say.en]
reply = "Order {{order}} is {{state}} with {{carrier}}."
not_found = "There is no order {{order}}."
error = "I cannot look orders up now."
[order_status.say.de]
reply = "Bestellung {{order}} ist {{state}} mit {{carrier}}."
not_found = "Es gibt keine Bestellung {{order}}."
error = "Das geht gerade nicht."

[visit]
url = "{url}/visits?day={{day}}&people={{people}}"
private = true
rules.any.keywords = ["book ... visit"]
fields = {{}}
say.any = {{ reply = "See you on {{day}}.", not_found = "No.", error = "Not now." }}
[visit.parameters.day]
type = "date"
ask.any = "Which day?"
[visit.parameters.people]
type = "integer"
minimum = 1
maximum = 9
ask.any = "How many people?"
"""


def registered(settings: Settings, folder: Path, url: str = "http://127.0.0.1:1", **changes: Any) -> Settings:
    """The settings with these tools, of which the shop's answers at an address."""
    path = folder / "tools.toml"
    path.write_text(TOML.format(url=url))
    host = url.removeprefix("http://")
    return dataclasses.replace(settings, tools=str(path), tool_hosts=(host,), tool_secrets=("shop=a-key-of-the-shop",), **changes)
