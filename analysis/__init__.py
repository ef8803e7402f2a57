"""From a study's ledger to pandas, statistics, tables, figures and the report. Needs neither torch nor Ray."""
