"""A guard before a Kafka cluster: TLS, certificates of clients, and SASL (PLAIN, SCRAM) with Python's own libraries.

What it lets through goes to the brokers behind it, and what they say of each other is told in its own addresses. It
listens on loopback. The argument is JSON: `places` of the brokers, `cert`, `key`, `client_ca` or null, `user`,
`password`, `mechanisms`. It says where it listens on stdout, and ends with its stdin.
"""

import base64
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import sys
import threading

PRODUCE, METADATA, HANDSHAKE, VERSIONS, AUTHENTICATE = 0, 3, 17, 18, 36
OFFERED = [(PRODUCE, 3, 7), (METADATA, 0, 2), (HANDSHAKE, 0, 1), (VERSIONS, 0, 0), (AUTHENTICATE, 0, 0)]
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}

config = json.loads(sys.argv[1])
own = {}  # port of a broker -> port of its guard


class Refused(Exception):
    pass


def exactly(stream, size):
    data = b""
    while len(data) < size:
        more = stream.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def frame(stream):
    return exactly(stream, struct.unpack(">i", exactly(stream, 4))[0])


def put(stream, data):
    stream.sendall(struct.pack(">i", len(data)) + data)


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


class Scram:
    """One exchange, as RFC 5802 has it."""

    def __init__(self, hash_name):
        self.hash = hash_name
        self.salt = os.urandom(16)
        self.first = None

    def mac(self, key, text):
        return hmac.digest(key, text, self.hash)

    def answer(self, said):
        if self.first is None:
            bare = said.decode().split(",", 2)[2]
            fields = dict(field.split("=", 1) for field in bare.split(","))
            if fields["n"] != config["user"]:
                raise Refused
            nonce = fields["r"] + base64.b64encode(os.urandom(12)).decode()
            salt = base64.b64encode(self.salt).decode()
            self.first = f"{bare},r={nonce},s={salt},i=4096"
            self.nonce = nonce
            return f"r={nonce},s={salt},i=4096".encode(), False
        without, proof = said.decode().rsplit(",p=", 1)
        if dict(field.split("=", 1) for field in without.split(","))["r"] != self.nonce:
            raise Refused
        whole = f"{self.first},{without}".encode()
        salted = hashlib.pbkdf2_hmac(self.hash, config["password"].encode(), self.salt, 4096)
        stored = hashlib.new(self.hash, self.mac(salted, b"Client Key")).digest()
        signature = self.mac(stored, whole)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature))
        if hashlib.new(self.hash, key).digest() != stored:
            raise Refused
        return b"v=" + base64.b64encode(self.mac(self.mac(salted, b"Server Key"), whole)), True


class Plain:
    def answer(self, said):
        if said.split(b"\0")[1:] != [config["user"].encode(), config["password"].encode()]:
            raise Refused
        return b"", True


def told(answer, version):
    """What is said of brokers, with the addresses of their guards."""
    head, rest = answer[:4], answer[4:]
    count, rest = struct.unpack(">i", rest[:4])[0], rest[4:]
    brokers = b""
    for _ in range(count):
        number, length = struct.unpack(">ih", rest[:6])
        port = struct.unpack(">i", rest[6 + length:10 + length])[0]
        rest = rest[10 + length:]
        brokers += struct.pack(">i", number) + string("localhost") + struct.pack(">i", own[port])
        if version >= 1:
            rack = max(struct.unpack(">h", rest[:2])[0], 0)
            brokers, rest = brokers + rest[:2 + rack], rest[2 + rack:]
    return head + struct.pack(">i", count) + brokers + rest


def serve(client, port):
    behind = socket.create_connection(("127.0.0.1", port))
    exchange, is_let_in = None, not config["mechanisms"]
    while True:
        request = frame(client)
        key, version, number = struct.unpack(">hhi", request[:8])
        client_id = max(struct.unpack(">h", request[8:10])[0], 0)
        body, head = request[10 + client_id:], request[4:8]
        if key == VERSIONS:
            offered = b"".join(struct.pack(">hhh", *each) for each in OFFERED)
            known = version == 0
            put(client, head + struct.pack(">hi", 0 if known else 35, len(OFFERED) if known else 0) + (offered if known else b""))
        elif key == HANDSHAKE:
            name = body[2:].decode()
            is_known = name in config["mechanisms"]
            if is_known:
                exchange = Scram(HASHES[name]) if name in HASHES else Plain()
            names = b"".join(map(string, config["mechanisms"]))
            put(client, head + struct.pack(">hi", 0 if is_known else 33, len(config["mechanisms"])) + names)
        elif key == AUTHENTICATE:
            try:
                said, is_let_in = exchange.answer(body[4:])
                put(client, head + struct.pack(">hhi", 0, -1, len(said)) + said)
            except Refused:
                put(client, head + struct.pack(">h", 58) + string("no") + struct.pack(">i", 0))
        elif not is_let_in:
            return
        else:
            put(behind, request)
            answer = frame(behind)
            put(client, told(answer, version) if key == METADATA else answer)


def guarded(plain, context, port):
    try:
        with plain, context.wrap_socket(plain, server_side=True) as client:
            serve(client, port)
    except (EOFError, OSError):
        pass  # the other side is gone, or not trusted


def listen(context, server, port):
    while True:
        plain, _ = server.accept()
        threading.Thread(target=guarded, args=(plain, context, port), daemon=True).start()


def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["cert"], config["key"])
    if config["client_ca"]:
        context.load_verify_locations(config["client_ca"])
        context.verify_mode = ssl.CERT_REQUIRED
    for place in config["places"]:
        port = int(place.rsplit(":", 1)[1])
        server = socket.create_server(("127.0.0.1", 0))
        own[port] = server.getsockname()[1]
        threading.Thread(target=listen, args=(context, server, port), daemon=True).start()
    print(",".join(f"localhost:{port}" for port in own.values()), flush=True)
    sys.stdin.read()


main()
