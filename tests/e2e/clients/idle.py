"""Opens many idle MQTT connections, says "open", waits for a line on standard input, closes them.

Arguments: host port count transport (tcp, tls or ws)
"""
import resource
import socket
import ssl
import sys

host, port, count, transport = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
)


def exactly(connection, wanted):
    taken = b""
    while len(taken) < wanted:
        part = connection.recv(wanted - len(taken))
        if not part:
            sys.exit(f"closed after {taken!r}")
        taken += part
    return taken


def upgrade(connection):
    connection.sendall(UPGRADE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(connection, 1)
    if b" 101 " not in head:
        sys.exit(f"refused: {head!r}")


def frame(packet):
    mask = b"\x01\x02\x03\x04"
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(packet))
    return bytes([0x82, 0x80 | len(packet)]) + mask + masked


sockets = []
for number in range(count):
    client = f"{transport}-{number:05}".encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(client).to_bytes(2, "big") + client
    packet, wanted = b"\x10" + bytes([len(body)]) + body, b"\x20\x02\x00\x00"
    # Many source addresses: one has no more than some 28,000 ports.
    connection = socket.create_connection((host, port), 10, (f"127.0.0.{2 + number % 200}", 0))
    if transport == "tls":
        connection = context.wrap_socket(connection)
    if transport == "ws":
        upgrade(connection)
        packet, wanted = frame(packet), b"\x82\x04" + wanted
    connection.sendall(packet)
    answer = exactly(connection, len(wanted))
    if answer != wanted:
        sys.exit(f"connection {number}: {answer!r}")
    sockets.append(connection)
print("open", flush=True)
sys.stdin.readline()
