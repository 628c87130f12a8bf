"""The conformance kit: every clause of SPEC.md against a module or a host of any maker.

A module imports only from modules above it in this list::

    clauses            the clauses of SPEC.md, by identifier
    packets            packets, right or wrong on purpose, and a parser of its own
    peer_wire          the line to the tested side: bytes, lanes and time
    cases              what a case is, and how it fails
    host_peer          a host that sends what a case tells it to send
    module_steps       what cases for modules of several subjects share
    module_cases_*     the cases for modules: a file for each subject of SPEC.md
    module_peer        a module that behaves until a case overrides something
    host_steps         what cases for hosts of several subjects share
    host_cases_*       the cases for hosts: a file for each subject of SPEC.md; host_cases has all
    verdicts           runs a case and gives its clauses a verdict
    transcript         the packets of a case as text
    virtual_module     the firmware's module, in this process and on virtual time
    plain_module       a module written from SPEC.md alone, on virtual time
    virtual_host       the driver's link and reassembly, on virtual time
    broken_steps       what broken peers of several subjects share
    broken_module_*    modules that break one clause each: a file for each subject of SPEC.md
    broken_host_*      hosts, likewise
    broken_modules     the table of all broken modules, and defects that each clause begins with
    broken_hosts       the table of all broken hosts, likewise
    selftest           runs each case on good peers and on the broken ones
    live               modules and hosts behind real transports
    report             JSON, JUnit XML and HTML
"""
