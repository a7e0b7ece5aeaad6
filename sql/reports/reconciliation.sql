-- title: Reconciliation
-- about: Each invoice against the sum of its lines, and what of it Stripe was told. A difference is a fault.
-- parameter period = last_month: the month in which the periods start
-- money: total sum_of_lines difference
WITH lines AS (
    SELECT invoice, count(*) AS lines, sum(amount) AS sum_of_lines FROM invoice_lines GROUP BY invoice
), told AS (
    SELECT invoice_number, count(*) AS records, count(*) FILTER (WHERE state NOT IN ('sent', 'confirmed')) AS untold
    FROM stripe_records
    GROUP BY invoice_number
)
SELECT invoices.tenant, invoices.period, coalesce(invoices.kind, 'invoice') AS kind, invoices.state, invoices.number, invoices.currency, invoices.total,
       coalesce(sum_of_lines, 0) AS sum_of_lines, invoices.total - coalesce(sum_of_lines, 0) AS difference,
       invoices.lines - coalesce(lines.lines, 0) AS missing_lines,
       coalesce(records, 0) AS stripe_records, coalesce(untold, 0) AS not_told_yet
FROM invoices
LEFT JOIN lines ON lines.invoice = invoices.invoice
LEFT JOIN told ON told.invoice_number = invoices.number
WHERE left(invoices.period, 7) = $period
ORDER BY abs(invoices.total - coalesce(sum_of_lines, 0)) DESC, invoices.tenant, invoices.period, invoices.number
