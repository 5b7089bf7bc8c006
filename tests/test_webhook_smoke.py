from tests.doors import *
from tests.conftest import wait_for
import pytest
@pytest.mark.one_redis
def test_it(settings):
    with opened(with_endpoint(settings)) as door:
        wait_for(lambda: ready(door))
        r=door.post({"conversation":"c1","text":"hello"})
        print(r.status_code, r.text, r.headers)
        r=door.post({"conversation":"c1","text":"hello"})
        print(r.status_code, r.text)
        print(door.look(r.json()["id"]).text)
        print(door.http.get("/").headers)
        print(door.http.get("/metrics").text[-1500:])
