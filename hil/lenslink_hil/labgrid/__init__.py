"""Share the boards of several machines through labgrid (extra ``labgrid``).

::

    rig.toml ──▶ labgrid_exporter     tells the coordinator which boards there are
                   └ board_server       serves one board over TCP, only while its place is acquired
                 place_setup          creates a place with tags for each board

    labgrid:PLACE ──▶ labgrid_directory ──▶ held_place    acquires a place, and releases it
                                              └ owner_name  tells a job that has died

    labgrid's own tests ──▶ lens_resource    resource, driver and strategy

:mod:`.coordinator` makes every call to labgrid's coordinator. It and :mod:`.lens_resource` import
labgrid and grpc; the other modules import them only when they need them.
"""
