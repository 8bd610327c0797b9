"""Reports: pages, figures and terminal tables.

run and comparison write pages (page turns Markdown from templates/ into HTML); figures, strips, comparison_figure and
growth_figure draw; mistakes and needs select misclassified clips and weak classes; dry_run_table and audit_tables
print (console).
"""

import logging

# It warns at every start if it can't keep its list of fonts in the home folder, as for accounts of services.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
