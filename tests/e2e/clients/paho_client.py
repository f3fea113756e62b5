"""paho-mqtt against a broker: subscribe, publish, see it come back; or report the refusal.

Arguments: host port transport(tcp|ws|tls|wss) version(3|4|5) qos ca user password
"""
import sys
import threading

import paho.mqtt.client as paho

host, port, transport, version, qos, ca, user, password = sys.argv[1:9]
kind = "websockets" if transport in ("ws", "wss") else "tcp"
protocol = {"3": paho.MQTTv31, "4": paho.MQTTv311, "5": paho.MQTTv5}[version]
client = paho.Client(
    paho.CallbackAPIVersion.VERSION2, client_id=f"paho-{transport}-{version}-{qos}", transport=kind, protocol=protocol
)
if kind == "websockets":
    client.ws_set_options(path="/mqtt")
if transport in ("tls", "wss"):
    client.tls_set(ca_certs=ca)
if user:
    client.username_pw_set(user, password)
done = threading.Event()
topic = f"paho/{transport}/{version}/{qos}"
result = []


def on_connect(client, _userdata, _flags, reason, _properties):
    if reason.is_failure:
        # For MQTT 3 paho gives the code of MQTT 5 with the same meaning.
        result.append(f"refused {reason.value}")
        done.set()
        return
    client.subscribe(topic, qos=int(qos))


def on_subscribe(client, _userdata, _mid, _reasons, _properties):
    client.publish(topic, b"from paho", qos=int(qos))


def on_message(_client, _userdata, message):
    result.append(f"got {message.payload.decode()} qos {message.qos}")
    done.set()


client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect(host, int(port))
client.loop_start()
done.wait(15)
client.disconnect()
client.loop_stop()
print(result[0] if result else "nothing came")
