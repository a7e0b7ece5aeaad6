#!/usr/bin/env python3
"""Produces CloudEvents with software that is not ours: PyPI `cloudevents` and `confluent-kafka`.

The events are a function of the arguments, so that a test can compute what must arrive. Standard output is one
JSON object that says what was sent; messages go to standard error; exit code 1 when a delivery failed.

Binary and structured mode come from the SDK as they are. The SDK knows no batch mode: its messages are arrays
of events that the SDK itself wrote in structured form, some with `time` taken out (the SDK always adds one).
"""

import argparse
import json
import sys
from datetime import datetime, timedelta, timezone

from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

MODES = ("binary", "structured", "batch")
TENANTS = ("acme", "müller-gmbh", "株式会社-東京", "o'neill & sons")
OFFSETS = (
    timezone.utc,
    timezone(timedelta(hours=5, minutes=30)),
    timezone(timedelta(hours=-8)),
    timezone(timedelta(hours=14)),
)
# The first integer that a 64-bit float cannot hold: a reader that goes through floats loses its last bit.
BEYOND_FLOAT = 2**53 + 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True, help="host:port")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, default=100, help="events for each mode (default 100)")
    parser.add_argument("--modes", default=",".join(MODES), help="comma-separated (default all three)")
    parser.add_argument("--event-type", default="redline.storage.sampled")
    parser.add_argument("--value-field", default="bytes", help="field of data that carries the value")
    parser.add_argument("--data", default="{}", help="JSON object laid over the data of every event")
    parser.add_argument("--tenants", type=int, default=len(TENANTS), help=f"1 to {len(TENANTS)}")
    parser.add_argument("--batch-size", type=int, default=10, help="events in a batch message")
    parser.add_argument("--duplicates", type=int, default=0, help="events of each mode that are sent once more")
    parser.add_argument("--id-prefix", default="foreign", help="start of every event id")
    parser.add_argument("--start", default="2026-03-01T00:00:00+00:00", help="time of the first event")
    parser.add_argument("--step-seconds", type=int, default=60, help="time between events of a mode")
    parsed = parser.parse_args()
    parsed.modes = parsed.modes.split(",")
    parsed.data = json.loads(parsed.data)
    parsed.start = datetime.fromisoformat(parsed.start)
    if not set(parsed.modes) <= set(MODES):
        parser.error(f"--modes takes {', '.join(MODES)}")
    if not 1 <= parsed.tenants <= len(TENANTS):
        parser.error(f"--tenants takes 1 to {len(TENANTS)}")
    if not 0 <= parsed.duplicates <= parsed.count:
        parser.error("--duplicates cannot exceed --count")
    if parsed.start.tzinfo is None:
        parser.error("--start needs an offset")
    return parsed


def value_of(number):
    return BEYOND_FLOAT + number if number % 10 == 9 else 1_000_003 * number


def event_of(options, mode, number):
    """The event `number` of a mode: every attribute and the data follow from the two."""
    tenant = TENANTS[number % options.tenants]
    time = options.start + timedelta(seconds=number * options.step_seconds, microseconds=number % 3 * 123_457)
    attributes = {
        "id": f"{options.id_prefix}-{mode}-{number:07d}",
        "source": f"/foreign/python/{mode}",
        "type": options.event_type,
        "subject": tenant,
        "time": time.astimezone(OFFSETS[number % len(OFFSETS)]),
        "datacontenttype": "application/json",
        "partitionkey": tenant,
        "sequence": number,
        "comment": "grüße ☃ \"quoted\" \\ back",
    }
    if number % 2:
        attributes["dataschema"] = "https://example.invalid/schemas/storage.json"
    if number % 5 == 0:
        attributes["datacontenttype"] = "application/json; charset=utf-8"
    data = {
        options.value_field: value_of(number),
        "folder": f"kunde/größe {number % 7} ☃",
        "storage_class": ("hot", "cold")[number % 2],
        "ownership": "vendor",
    } | options.data
    return tenant, time, CloudEvent(attributes, data)


class Sent:
    """What was sent, as the summary tells it. Duplicates are counted but add nothing to a sum."""

    def __init__(self):
        self.messages = 0
        self.by_mode = {}
        self.tenants = {}
        self.without_time = 0
        self.duplicates = 0
        self.times = []
        self.failures = []

    def add(self, mode, tenant, time, value):
        self.by_mode[mode] = self.by_mode.get(mode, 0) + 1
        entry = self.tenants.setdefault(tenant, {"events": 0, "sum": 0})
        entry["events"] += 1
        entry["sum"] += value
        self.times.append(time)

    def delivered(self, error, _message):
        if error is not None:
            self.failures.append(str(error))


def messages_of(options, mode, numbers, sent):
    """Yields (key, value, headers, timestamp) of the Kafka messages that carry the events `numbers`."""
    form = JSONFormat()
    batch = []
    for number in numbers:
        tenant, time, event = event_of(options, mode, number)
        value = event.get_data()[options.value_field]
        timestamp_ms = int(time.timestamp() * 1000)
        if mode == "batch":
            written = json.loads(form.write(event))
            if number % 4 == 3:
                # The service falls back to the Kafka timestamp, which a batch has once: that of its first event.
                del written["time"]
                sent.without_time += 1
                time = batch[0][0] if batch else time
                time = time.replace(microsecond=time.microsecond // 1000 * 1000)
            batch.append((time, written))
            sent.add(mode, tenant, time, value)
            if len(batch) == options.batch_size or number == numbers[-1]:
                body = json.dumps([entry for _, entry in batch], ensure_ascii=number % 2 == 0).encode()
                timestamp_ms = int(batch[0][0].timestamp() * 1000)
                yield None, body, {"content-type": b"application/cloudevents-batch+json; charset=utf-8"}, timestamp_ms
                batch = []
            continue
        to_message = kafka.to_binary if mode == "binary" else kafka.to_structured
        message = to_message(event, form)
        sent.add(mode, tenant, time, value)
        yield message.key, message.value, message.headers, timestamp_ms


def send(producer, options, message, sent):
    key, value, headers, timestamp_ms = message
    while True:
        try:
            producer.produce(
                options.topic, value, key, headers=headers, timestamp=timestamp_ms, on_delivery=sent.delivered
            )
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)
    sent.messages += 1


def main():
    options = arguments()
    producer = Producer({
        "bootstrap.servers": options.broker,
        "enable.idempotence": True,
        "message.timeout.ms": 30_000,
        "linger.ms": 5,
    })
    sent = Sent()
    for mode in options.modes:
        for message in messages_of(options, mode, range(options.count), sent):
            send(producer, options, message, sent)
    again = Sent()
    for mode in options.modes:
        if options.duplicates:
            for message in messages_of(options, mode, range(options.duplicates), again):
                send(producer, options, message, sent)
    sent.duplicates = sum(again.by_mode.values())
    left = producer.flush(60)
    if left:
        sent.failures.append(f"{left} messages were still in the queue after 60 s")
    for failure in sent.failures[:10]:
        print(f"delivery failed: {failure}", file=sys.stderr)
    print(json.dumps({
        "topic": options.topic,
        "event_type": options.event_type,
        "messages": sent.messages,
        "events": sum(sent.by_mode.values()),
        "duplicates": sent.duplicates,
        "without_time": sent.without_time,
        "by_mode": sent.by_mode,
        "tenants": {
            tenant: {"events": entry["events"], "sum": str(entry["sum"])}
            for tenant, entry in sorted(sent.tenants.items())
        },
        "time_min": min(sent.times).astimezone(timezone.utc).isoformat() if sent.times else None,
        "time_max": max(sent.times).astimezone(timezone.utc).isoformat() if sent.times else None,
    }, ensure_ascii=False, indent=2))
    return 1 if sent.failures else 0


if __name__ == "__main__":
    sys.exit(main())
