"""``make demo``: what the camera and the phone do, as pictures before and after.

::

    __main__        the command: opens the simulated modules, runs the steps, writes the files
    steps           one function for each step: what the module is asked for, and what comes out
    measures        how sharp, noisy or clipped a picture is
    contact_sheet   all pairs of pictures as one picture
    demo_page       the same as a page of HTML

All figures are measured during the run. They are figures of this machine: the module is a second
process, and no link of the product's speed lies between the two.
"""
