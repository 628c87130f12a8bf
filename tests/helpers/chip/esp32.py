"""Stand in for Espressif's module."""


def mcu_temperature():
    return 41
