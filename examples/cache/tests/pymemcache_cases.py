"""Drives a server that speaks memcached's protocol by pymemcache: argument HOST:PORT."""

import sys

from pymemcache.client.base import Client
from pymemcache.client.hash import HashClient

host, port = sys.argv[1].rsplit(":", 1)
client = Client((host, int(port)), default_noreply=False, timeout=10, connect_timeout=10)

assert client.set("py1", b"value") is True
assert client.get("py1") == b"value"
assert client.get("py-nothing") is None
assert client.add("py1", b"other") is False
assert client.replace("py1", b"second") is True
assert client.append("py1", b"!") is True
assert client.prepend("py1", b"<") is True
assert client.get("py1") == b"<second!"

value, cas = client.gets("py1")
assert value == b"<second!"
assert client.cas("py1", b"third", cas) is True
assert client.cas("py1", b"fourth", cas) is False
assert client.cas("py-nothing", b"x", cas) is None

assert client.set_many({"py2": b"2", "py3": b"3"}) == []
assert client.get_many(["py2", "py3", "py4"]) == {"py2": b"2", "py3": b"3"}
assert client.gets_many(["py2"])["py2"][0] == b"2"
assert client.incr("py2", 40) == 42
assert client.decr("py2", 2) == 40
assert client.incr("py-nothing", 1) is None
assert client.touch("py2", 100) is True
assert client.delete("py2") is True
assert client.delete("py2") is False
assert client.delete_many(["py1", "py3"]) is True

client.set("py5", b"quiet", noreply=True)
assert client.get("py5") == b"quiet"
big = bytes(range(256)) * 3000
assert client.set("py6", big) is True
assert client.get("py6") == big
assert client.version().startswith(b"1.6")
assert client.stats()[b"curr_items"] >= 1
assert client.flush_all() is True
assert client.get("py6") is None

hashed = HashClient([(host, int(port))], use_pooling=True, timeout=10)
for number in range(500):
    hashed.set("py-%d" % number, str(number).encode())
assert hashed.get_many(["py-%d" % number for number in range(500)]) == {
    "py-%d" % number: str(number).encode() for number in range(500)
}
client.quit()
