"""Count the energy that the module takes, by a gauge: of frames, and the rest.

The gauge is a port. A sample of it arrives some time after it was asked for, so each question is
kept with what the energy since the question before belongs to:

========  =========================================  =====================================
question  asked                                      the energy since the question before
========  =========================================  =====================================
IDLE      while idle, and when it becomes active     is idle
OPEN      while active                               is of the frame that ends next
END       when a frame ends                          is of that frame
CLOSE     when the module becomes idle               is idle, with what no frame has ended
========  =========================================  =====================================

So energy of frames + idle + of the frame that has not ended = all energy, to the microjoule.
"""

_IDLE = 0
_OPEN = 1
_END = 2
_CLOSE = 3

# The gauge counts microjoules in 24 bits.
_MASK = (1 << 24) - 1
_QUESTIONS = 16


class Counter:
    """A cumulative number of microjoules. Its parts are small, so that add() does not allocate."""

    def __init__(self):
        self._joules = 0
        self._rest = 0

    def add(self, microjoules):
        rest = self._rest + microjoules
        self._joules += rest // 1000000
        self._rest = rest % 1000000

    @property
    def microjoules(self):
        return self._joules * 1000000 + self._rest

    def get_words(self):
        """Return the low and the high 32 bits."""
        value = self.microjoules
        return value & 0xFFFFFFFF, value >> 32


class EnergyMeter:
    """``frames`` and ``idle`` are Counters. ``last_frame_uj`` is of the frame that ended last."""

    def __init__(self, ask):
        self.frames = Counter()
        self.idle = Counter()
        self.last_frame_uj = 0
        self.open_uj = 0
        self._ask = ask
        self._is_active = False
        self._last = None
        self._questions = bytearray(_QUESTIONS)
        self._first = 0
        self._count = 0

    @property
    def microjoules(self):
        """All energy since the first sample."""
        return self.frames.microjoules + self.idle.microjoules + self.open_uj

    def get_words(self):
        """Return the low and the high 32 bits of all energy."""
        value = self.microjoules
        return value & 0xFFFFFFFF, value >> 32

    def poll(self):
        """Ask the gauge, so that its register does not wrap twice between two samples."""
        self._ask_for(_OPEN if self._is_active else _IDLE)

    def set_active(self, active):
        """Note that the module becomes active or idle."""
        if active != self._is_active:
            self._is_active = active
            self._ask_for(_IDLE if active else _CLOSE)

    def end_frame(self):
        """Note the end of a frame. It has all energy since the frame before it ended.

        Return True if add_sample() will return that energy.
        """
        return self._is_active and self._last is not None and self._ask_for(_END)

    def give_up_end(self):
        """Wait no longer for the end of a frame: its energy will be of the frame that ends next."""
        for at in range(self._count):
            index = (self._first + at) % _QUESTIONS
            if self._questions[index] == _END:
                self._questions[index] = _OPEN
                return

    def _ask_for(self, question):
        """Ask the gauge. Return False if it does not answer."""
        if self._count == _QUESTIONS:
            # The energy will be counted with a later question.
            return False
        self._questions[(self._first + self._count) % _QUESTIONS] = question
        self._count += 1
        self._ask()
        return True

    def add_sample(self, counts):
        """Take a sample of the gauge: microjoules modulo 2^24.

        Return the energy of the frame that the sample ends, or None if it ends no frame.
        """
        if not self._count:
            return None
        question = self._questions[self._first]
        self._first = (self._first + 1) % _QUESTIONS
        self._count -= 1
        spent = 0 if self._last is None else (counts - self._last) & _MASK
        self._last = counts
        if question == _IDLE:
            self.idle.add(spent)
            return None
        self.open_uj += spent
        if question == _END:
            self.frames.add(self.open_uj)
            self.last_frame_uj = self.open_uj
            self.open_uj = 0
            return self.last_frame_uj
        if question == _CLOSE:
            self.idle.add(self.open_uj)
            self.open_uj = 0
        return None
