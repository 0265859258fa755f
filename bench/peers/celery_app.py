"""The tasks that celery.sh runs."""
import time

from celery import Celery

app = Celery('celery_app', broker='redis://127.0.0.1/0', backend='redis://127.0.0.1/0')
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=4, broker_connection_retry_on_startup=True)


@app.task(name='noop')
def noop():
    pass


@app.task(name='timed', ignore_result=False)
def timed():
    return time.time()
