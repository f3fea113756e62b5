"""A cluster of librdkafka, by the makers of Kafka's client in C: it lives in this process, and listens on loopback.

Commands are lines on stdin, each answered by a line on stdout: `ok`, what was asked for, or `error: …`. It ends with
its stdin. Needs librdkafka.so.1 (Debian: librdkafka1).
"""

import ctypes
import json
import sys
from ctypes import POINTER, byref, c_char_p, c_int, c_int16, c_int32, c_size_t, c_void_p

rdkafka = ctypes.CDLL("librdkafka.so.1")
PRODUCER, CONSUMER = 0, 1
FLAGS = {"PRODUCE": 0, "FETCH": 1, "METADATA": 3}


def function(name, result, *arguments):
    found = getattr(rdkafka, name)
    found.restype, found.argtypes = result, arguments
    return found


conf_new = function("rd_kafka_conf_new", c_void_p)
conf_set = function("rd_kafka_conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t)
client_new = function("rd_kafka_new", c_void_p, c_int, c_void_p, c_char_p, c_size_t)
cluster_new = function("rd_kafka_mock_cluster_new", c_void_p, c_void_p, c_int)
bootstraps = function("rd_kafka_mock_cluster_bootstraps", c_char_p, c_void_p)
topic_create = function("rd_kafka_mock_topic_create", c_int, c_void_p, c_char_p, c_int, c_int)
topic_error = function("rd_kafka_mock_topic_set_error", None, c_void_p, c_char_p, c_int)
set_leader = function("rd_kafka_mock_partition_set_leader", c_int, c_void_p, c_char_p, c_int32, c_int32)
broker_down = function("rd_kafka_mock_broker_set_down", c_int, c_void_p, c_int32)
broker_up = function("rd_kafka_mock_broker_set_up", c_int, c_void_p, c_int32)
broker_rtt = function("rd_kafka_mock_broker_set_rtt", c_int, c_void_p, c_int32, c_int)
push_errors = function(
    "rd_kafka_mock_push_request_errors_array", None, c_void_p, c_int16, c_size_t, POINTER(c_int)
)
clear_errors = function("rd_kafka_mock_clear_request_errors", None, c_void_p, c_int16)
error_name = function("rd_kafka_err2name", c_char_p, c_int)
partitioner = function(
    "rd_kafka_msg_partitioner_murmur2", c_int32, c_void_p, c_char_p, c_size_t, c_int32, c_void_p, c_void_p
)
topic_new = function("rd_kafka_topic_new", c_void_p, c_void_p, c_char_p, c_void_p)
consume_start = function("rd_kafka_consume_start", c_int, c_void_p, c_int32, ctypes.c_int64)
consume_stop = function("rd_kafka_consume_stop", c_int, c_void_p, c_int32)
message_destroy = function("rd_kafka_message_destroy", None, c_void_p)
message_headers = function("rd_kafka_message_headers", c_int, c_void_p, POINTER(c_void_p))
header_all = function(
    "rd_kafka_header_get_all", c_int, c_void_p, c_size_t,
    POINTER(c_char_p), POINTER(c_void_p), POINTER(c_size_t),
)
message_time = function("rd_kafka_message_timestamp", ctypes.c_int64, c_void_p, POINTER(c_int))
watermarks = function(
    "rd_kafka_query_watermark_offsets", c_int, c_void_p, c_char_p, c_int32,
    POINTER(ctypes.c_int64), POINTER(ctypes.c_int64), c_int,
)


class Message(ctypes.Structure):
    _fields_ = [
        ("err", c_int), ("topic", c_void_p), ("partition", c_int32),
        ("payload", c_void_p), ("len", c_size_t), ("key", c_void_p), ("key_len", c_size_t),
        ("offset", ctypes.c_int64), ("private", c_void_p),
    ]


consume = function("rd_kafka_consume", POINTER(Message), c_void_p, c_int32, c_int)


def client(kind, settings):
    said = ctypes.create_string_buffer(512)
    conf = conf_new()
    for name, value in settings.items():
        if conf_set(conf, name.encode(), value.encode(), said, len(said)) != 0:
            raise RuntimeError(said.value.decode())
    made = client_new(kind, conf, said, len(said))
    if not made:
        raise RuntimeError(said.value.decode())
    return made


def text(place, size):
    return None if not place else ctypes.string_at(place, size).decode("utf-8", "backslashreplace")


class Cluster:
    """A cluster of some brokers, and one that reads."""

    def __init__(self, brokers):
        quiet = {"log_level": "2", "bootstrap.servers": "127.0.0.1:1"}
        self.owner = client(PRODUCER, quiet)
        self.cluster = cluster_new(self.owner, brokers)
        self.places = bootstraps(self.cluster).decode()
        self.reader = client(CONSUMER, {"log_level": "2", "bootstrap.servers": self.places})

    def check(self, code):
        if code != 0:
            raise RuntimeError(error_name(code).decode())
        return "ok"

    def topic(self, name, partitions):
        return self.check(topic_create(self.cluster, name.encode(), int(partitions), 1))

    def lose_topic(self, name, code):
        topic_error(self.cluster, name.encode(), int(code))
        return "ok"

    def lead(self, name, partition, broker):
        return self.check(set_leader(self.cluster, name.encode(), int(partition), int(broker)))

    def down(self, broker):
        return self.check(broker_down(self.cluster, int(broker)))

    def up(self, broker):
        return self.check(broker_up(self.cluster, int(broker)))

    def rtt(self, broker, ms):
        return self.check(broker_rtt(self.cluster, int(broker), int(ms)))

    def fail(self, request, *codes):
        errors = (c_int * len(codes))(*map(int, codes))
        push_errors(self.cluster, FLAGS[request], len(codes), errors)
        return "ok"

    def mend(self, request):
        clear_errors(self.cluster, FLAGS[request])
        return "ok"

    def partition(self, count, key):
        return str(partitioner(None, key.encode(), len(key.encode()), int(count), None, None))

    def read(self, name, partition):
        """Everything in a partition, as JSON."""
        partition = int(partition)
        low, high = ctypes.c_int64(), ctypes.c_int64()
        self.check(watermarks(self.reader, name.encode(), partition, byref(low), byref(high), 10000))
        topic = topic_new(self.reader, name.encode(), None)
        if consume_start(topic, partition, low.value) != 0:
            raise RuntimeError("it cannot be read")
        found = []
        tries = 0
        while len(found) < high.value - low.value:
            message = consume(topic, partition, 1000)
            if not message:
                tries += 1
                if tries > 15:
                    raise RuntimeError(f"only {len(found)} of {high.value - low.value} came")
                continue
            if message.contents.err == 0:
                found.append(self.shown(message))
            message_destroy(message)
        consume_stop(topic, partition)
        return json.dumps(found)

    def shown(self, message):
        content = message.contents
        headers, listed = c_void_p(), []
        if message_headers(message, byref(headers)) == 0:
            name, value, size = c_char_p(), c_void_p(), c_size_t()
            while header_all(headers, len(listed), byref(name), byref(value), byref(size)) == 0:
                listed.append([name.value.decode(), text(value.value, size.value)])
        return {
            "key": text(content.key, content.key_len),
            "value": text(content.payload, content.len) if content.payload else None,
            "headers": listed,
            "time": message_time(message, byref(c_int())),
        }


def main():
    cluster = Cluster(int(sys.argv[1]))
    print(cluster.places, flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        try:
            answer = getattr(cluster, verb)(*words)
        except RuntimeError as error:
            answer = f"error: {error}"
        print(answer, flush=True)


main()
