"""aiomqtt in the matrix (see matrix_cells.py)."""
import asyncio

import aiomqtt
from matrix_cells import PATIENCE, context, each, expect, host, is_websocket, port

VERSIONS = {3: aiomqtt.ProtocolVersion.V31, 4: aiomqtt.ProtocolVersion.V311, 5: aiomqtt.ProtocolVersion.V5}


async def cell(version, qos, topic):
    client = aiomqtt.Client(
        host,
        port,
        identifier=topic.replace("/", "-"),
        protocol=VERSIONS[version],
        transport="websockets" if is_websocket else "tcp",
        websocket_path="/mqtt" if is_websocket else None,
        tls_context=context,
        will=aiomqtt.Will(f"{topic}/will", b"last words", qos=1),
    )
    async with asyncio.timeout(PATIENCE), client:
        messages = aiter(client.messages)

        async def receive(name, payload, retain):
            message = await anext(messages)
            got = (message.topic.value, message.payload, message.qos, message.retain)
            expect(got, f"{topic}/{name}", payload, qos, retain)

        await client.subscribe(f"{topic}/#", qos=qos)
        await client.publish(f"{topic}/live", b"from aiomqtt", qos=qos)
        await receive("live", b"from aiomqtt", False)
        await client.publish(f"{topic}/kept", b"kept", qos=qos, retain=True)
        await receive("kept", b"kept", False)
        await client.subscribe(f"{topic}/kept", qos=qos)
        await receive("kept", b"kept", True)
        await client.publish(f"{topic}/kept", b"", qos=qos, retain=True)
        await receive("kept", b"", False)


each(lambda *words: asyncio.run(cell(*words)))
