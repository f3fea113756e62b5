"""gmqtt in the matrix (see matrix_cells.py)."""
import asyncio

import gmqtt
from matrix_cells import PATIENCE, context, each, expect, host, port


async def cell(version, qos, topic):
    inbox, subscribed, left = asyncio.Queue(), asyncio.Event(), asyncio.Event()
    client = gmqtt.Client(
        topic.replace("/", "-"), will_message=gmqtt.Message(f"{topic}/will", b"last words", qos=1)
    )

    def on_message(_client, name, payload, got_qos, properties):
        inbox.put_nowait((name, bytes(payload), got_qos, properties.get("retain")))
        return 0

    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_disconnect = lambda *_: left.set()

    async def subscribe(filter):
        subscribed.clear()
        client.subscribe(filter, qos=qos)
        await subscribed.wait()

    async def publish(name, payload, retain):
        client.publish(f"{topic}/{name}", payload, qos=qos, retain=retain)
        expect(await inbox.get(), f"{topic}/{name}", payload, qos, False)

    async with asyncio.timeout(PATIENCE):
        await client.connect(host, port, ssl=context or False, version=version)
        await subscribe(f"{topic}/#")
        await publish("live", b"from gmqtt", False)
        await publish("kept", b"kept", True)
        await subscribe(f"{topic}/kept")
        expect(await inbox.get(), f"{topic}/kept", b"kept", qos, True)
        await publish("kept", b"", True)
        for _ in range(2):  # it cannot close TLS while the last exchange of QoS 2 goes on: two answers later it is over
            await subscribe(f"{topic}/none")
        await client.disconnect()
        await left.wait()


each(lambda *words: asyncio.run(cell(*words)))
