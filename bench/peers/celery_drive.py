"""Submits to Celery and prints what bench/measure.sh says."""
import json
import os
import sys
import time

import redis
from celery_app import app, noop, timed

QUICK = bool(os.environ.get('QUICK'))
COUNT = 1000 if QUICK else 3000
TIMED = 100 if QUICK else 300


def emit(name, value, unit):
    print(json.dumps({'name': name, 'value': float('%.6g' % value), 'unit': unit}), flush=True)


def cpu_us():
    path = os.environ.get('CPU_FILE')
    if not path:
        return None
    with open(path, encoding='ascii') as file:
        text = file.read()
    return int(text.split()[1]) if text.startswith('usage_usec') else int(text) / 1e3


def processed():
    workers = app.control.inspect(timeout=1, limit=1).stats() or {}
    return sum(worker['total'].get('noop', 0) for worker in workers.values())


def drained(count, limit):
    """Wait until this many have been processed in all."""
    broker = redis.Redis()
    while broker.llen('celery') > 0:
        if time.time() > limit:
            sys.exit('Celery did not take its tasks in time')
        time.sleep(0.01)
    while processed() < count:
        if time.time() > limit:
            sys.exit('Celery did not end its tasks in time')


def main():
    limit = time.time() + 60
    while not app.control.ping(timeout=0.5):
        if time.time() > limit:
            sys.exit('no Celery worker answers')
    for _ in range(50):
        noop.delay()
    drained(50, limit)

    cpu = cpu_us()
    began = time.time()
    for _ in range(COUNT):
        noop.delay()
    drained(50 + COUNT, limit)
    emit('celery_submit_to_done_per_s', COUNT / (time.time() - began), 'tasks/s')
    if cpu is not None:
        emit('celery_cpu_us_per_task', (cpu_us() - cpu) / COUNT, 'us')

    # The queue is filled while the worker takes nothing: drain only.
    app.control.cancel_consumer('celery', reply=True, limit=1)
    for _ in range(COUNT):
        noop.delay()
    began = time.time()
    app.control.add_consumer('celery', reply=True, limit=1)
    drained(50 + 2 * COUNT, limit)
    emit('celery_tasks_per_s', COUNT / (time.time() - began), 'tasks/s')

    # Both clocks are this machine's.
    times, returned = [], []
    for _ in range(TIMED):
        called = time.time()
        result = timed.delay()
        sent = time.time()
        at = result.get(timeout=10)
        times.append((at - called) * 1e3)
        returned.append(max((at - sent) * 1e3, 0.001))
    for name, values in (('call', times), ('commit', returned)):
        values.sort()
        emit('celery_%s_to_start_p50_ms' % name, values[len(values) // 2], 'ms')
        emit('celery_%s_to_start_p99_ms' % name, values[int(len(values) * 0.99)], 'ms')


main()
