"""Tasks like those of Django's own tests, and the names that code about them uses."""

TASKS = """
from django.tasks import TaskContext, task
from django.utils.module_loading import import_string
from workshed.contrib.django import task_options


@task()
def ignore(*args, **kwargs):
    return None


@task()
async def ignore_async(*args, **kwargs):
    return None


@task
def answer():
    return 42


@task
@task_options(max_retries=0)
def leave(name):
    raise import_string(name)("this task leaves")


@task
@task_options(max_retries=0)
async def leave_async(name):
    raise import_string(name)("this task leaves")


@task
@task_options(max_retries=0)
def leave_nested():
    raise ValueError(ValueError("this task leaves"))


@task
def return_function():
    return lambda: True


@task(takes_context=True)
def check_context(context, attempt):
    assert isinstance(context, TaskContext)
    assert context.attempt == attempt
    return context.task_result.id
"""
HEAD = """
import logging, uuid
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch
from asgiref.sync import async_to_sync
from django.tasks.exceptions import TaskResultDoesNotExist
from django.test import override_settings
from django.utils.module_loading import import_string
from shop import contract
backend = default_task_backend
backends = {"default": {"BACKEND": "workshed.contrib.django.TasksBackend", "QUEUES": ["queue-1"]}}
elsewhere = contract.ignore.using(queue_name="emails")
"""
