"""What people read: console (tables on a terminal), page (Markdown to HTML) and templates/, the rest one file per page.

run and comparison write pages; figures, strips, comparison_figure and growth_figure draw; mistakes and needs pick
what went wrong; dry_run_table and audit_tables print.
"""
