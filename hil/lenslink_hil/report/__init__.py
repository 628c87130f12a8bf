"""The report of a run on boards: one JSON document, from which pages are rendered.

::

    plugin.report_notes    figures and pictures of a test ──┐
    plugin.report_writer   outcomes of a run ───────────────┴─▶ report.json
                                                                    │ report_document
    conform module --json ──▶ lenslink.conform/2 ──────────────────▶│ report_reader
                                                                    ▼
                                          report_html, report_markdown ◀── html_page, sparkline

:mod:`.board_history` keeps the figures of each board, and judges a new one by them. The pages say
nothing that the document does not have.
"""
