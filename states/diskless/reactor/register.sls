#!py
"""A machine announces itself. What the event says is handed over as it is, and checked by the runner."""


def run():
    react = {"runner.diskless.react": [{"args": [{"tag": tag}, {"data": data}]}]}
    return {"diskless register": react}
