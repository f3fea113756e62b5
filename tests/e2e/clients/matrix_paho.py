"""paho-mqtt in the matrix (see matrix_cells.py)."""
import queue
import threading

import paho.mqtt.client as paho
from matrix_cells import PATIENCE, ca, context, each, expect, host, is_websocket, port


def client(version, name, will):
    made = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=name.replace("/", "-"),
        transport="websockets" if is_websocket else "tcp",
        protocol={3: paho.MQTTv31, 4: paho.MQTTv311, 5: paho.MQTTv5}[version],
    )
    if is_websocket:
        made.ws_set_options(path="/mqtt")
    if context:
        made.tls_set(ca_certs=ca)
    made.will_set(will, b"last words", qos=1)
    connected = threading.Event()
    made.on_connect = lambda _client, _data, _flags, reason, _properties: reason.is_failure or connected.set()
    made.connect(host, port)
    made.loop_start()
    if not connected.wait(PATIENCE):
        raise AssertionError("not connected")
    return made


def cell(version, qos, topic):
    inbox, subscribed, left = queue.Queue(), threading.Event(), threading.Event()
    main = client(version, topic, f"{topic}/will")
    main.on_message = lambda _client, _data, m: inbox.put((m.topic, m.payload, m.qos, m.retain))
    main.on_subscribe = lambda *_: subscribed.set()
    main.on_disconnect = lambda *_: left.set()

    def subscribe(filter):
        subscribed.clear()
        main.subscribe(filter, qos=qos)
        if not subscribed.wait(PATIENCE):
            raise AssertionError("no SUBACK")

    def publish(name, payload, retain):
        main.publish(f"{topic}/{name}", payload, qos=qos, retain=retain).wait_for_publish(PATIENCE)
        expect(inbox.get(timeout=PATIENCE), f"{topic}/{name}", payload, qos, False)

    subscribe(f"{topic}/#")
    publish("live", b"from paho", False)
    publish("kept", b"kept", True)
    subscribe(f"{topic}/kept")
    expect(inbox.get(timeout=PATIENCE), f"{topic}/kept", b"kept", qos, True)
    publish("kept", b"", True)
    other = client(version, f"{topic}/other", f"{topic}/gone")
    other.loop_stop()
    other.socket().close()  # without DISCONNECT: its will is published
    expect(inbox.get(timeout=PATIENCE), f"{topic}/gone", b"last words", min(qos, 1), False)
    main.disconnect()
    if not left.wait(PATIENCE):
        raise AssertionError("not disconnected")
    main.loop_stop()


each(cell)
