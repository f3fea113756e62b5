"""What the Python clients of the matrix share: their arguments, and one line for each cell.

Arguments: host port transport(tcp|ws|tls|wss) ca prefix cells(version:qos …)
Prints `cell VERSION QOS ok` or `cell VERSION QOS` and what was wrong.
"""
import ssl
import sys

PATIENCE = 20
host, port, transport, ca, prefix = sys.argv[1], int(sys.argv[2]), *sys.argv[3:6]
is_websocket = transport in ("ws", "wss")
context = ssl.create_default_context(cafile=ca) if transport in ("tls", "wss") else None


def expect(message, topic, payload, qos, retain):
    """A message is (topic, payload, qos, retain); retain is None where a client does not say."""
    wanted = (topic, payload, qos, retain if message[3] is not None else None)
    if (*message[:3], None if message[3] is None else bool(message[3])) != wanted:
        raise AssertionError(f"{message} came where {wanted} was expected")


def each(run):
    """Runs every cell: `run(version, qos, topic)`."""
    for version, qos in (cell.split(":") for cell in sys.argv[6:]):
        try:
            run(int(version), int(qos), f"{prefix}/{version}/{qos}")
            said = "ok"
        except Exception as error:  # noqa: BLE001: whatever it is, it is what the cell says
            said = f"{type(error).__name__}: {error}".replace("\n", " ")
        print(f"cell {version} {qos} {said}", flush=True)
