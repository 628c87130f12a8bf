"""The conformance kit: every clause of SPEC.md against a module or a host, whoever made it.

Data goes down this list and never back up::

    clauses            what SPEC.md demands, by identifier
    packets, wire      packets as one wants them, right or wrong; bytes, time, and nothing else
    cases              what a case is, and how one fails
    host_peer          a host that says what a case tells it to
    module_cases...    the cases for modules, by chapter of SPEC.md
    module_peer        a module that behaves until a case overrides something
    host_cases...      the cases for hosts
    run                a verdict for each clause of each case
    virtual_module,    the real ones, in this process, on virtual time, with or without
    virtual_host       a defect (tamper) on their line
    broken_modules,    a defect for each clause
    broken_hosts
    selftest           each case passes the good one and fails the broken one
    live               modules and hosts behind real transports
    report             JSON, JUnit XML, HTML
"""
