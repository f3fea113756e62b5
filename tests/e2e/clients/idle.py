"""Opens many idle MQTT connections, says "open", waits for a line on standard input, closes them.

Arguments: host port count
"""
import resource
import socket
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
sockets = []
for number in range(count):
    client = f"idle-{number:05}".encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(client).to_bytes(2, "big") + client
    # Many source addresses: one has no more than some 28,000 ports.
    connection = socket.create_connection((host, port), 10, (f"127.0.0.{2 + number % 200}", 0))
    connection.sendall(b"\x10" + bytes([len(body)]) + body)
    answer = connection.recv(4)
    if answer != b"\x20\x02\x00\x00":
        sys.exit(f"connection {number}: {answer!r}")
    sockets.append(connection)
print("open", flush=True)
sys.stdin.readline()
