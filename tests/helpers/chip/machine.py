"""Stand in for MicroPython's ``machine`` on a chip. A test sets pins, ADC and registers."""

levels = {}
pins = {}
counts = {}
fed = []
on_irq = None


class Registers:
    def __init__(self):
        self.values = {}
        self.writes = []

    def __getitem__(self, address):
        return self.values.get(address, 0)

    def __setitem__(self, address, value):
        self.writes.append((address, value))
        self.values[address] = value


mem8, mem16, mem32 = Registers(), Registers(), Registers()


class Pin:
    IN, OUT, PULL_UP, IRQ_RISING, IRQ_FALLING = 0, 1, 2, 4, 8

    def __init__(self, number, mode, pull=None, value=None):
        self.number, self.mode, self.pull = number, mode, pull
        self.handler = None
        self.edges = []
        pins[number] = self
        if value is not None:
            levels[number] = value

    def value(self, *level):
        if level:
            self.edges.append(int(level[0]))
            levels[self.number] = int(level[0])
            return None
        return levels.get(self.number, 1 if self.pull == self.PULL_UP else 0)

    def irq(self, handler, trigger, hard=False):
        self.handler, self.hard = handler, hard
        if on_irq is not None and self.number == 14:
            on_irq()


class ADC:
    def __init__(self, number):
        self.number = number

    def read_u16(self):
        return counts.get(self.number, 0)


are_interrupts_on = True


def disable_irq():
    global are_interrupts_on
    before, are_interrupts_on = are_interrupts_on, False
    return before


def enable_irq(before):
    global are_interrupts_on
    are_interrupts_on = before


def unique_id():
    return b"\xe6a\x41\x04\x03"


class WDT:
    def __init__(self, timeout):
        fed.append(timeout)

    def feed(self):
        fed.append("fed")


class RTC:
    kept = b""

    def memory(self, *data):
        if data:
            RTC.kept = data[0]
        return RTC.kept


class Timer:
    def __init__(self, number):
        self.number = number

    def init(self, period, callback):
        fed.append(period)


def drive(number, level):
    """Set the level of a pin from outside."""
    levels[number] = level
    if pins[number].handler is not None:
        pins[number].handler(pins[number])
