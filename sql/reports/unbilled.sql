-- title: Unbilled usage so far, and a forecast to the end of the period
-- about: What will be charged for periods that have no issued invoice. Levels are rated as if they stayed as they are now; sessions
-- about: that run count up to now; all other usage is drawn on in a straight line from what came so far, amounts and not quantities, so
-- about: allowances and tiers bend it.
-- parameter period = this_month: the month in which the periods start
-- parameter now = now: the instant up to which usage has come in
-- money: fees levels used so_far forecast
-- chart: bar tenant forecast
WITH open AS (
    SELECT tenant, currency, period_start, period_end, meter, measure, amount
    FROM charges($period, $now) AS charges
    WHERE kind = 'charge'
      AND NOT EXISTS (
          SELECT 1 FROM invoices
          WHERE invoices.tenant = charges.tenant AND invoices.period = charges.period AND invoices.state = 'issued'
            AND invoices.kind IS DISTINCT FROM 'credit_note'
      )
), sums AS (
    SELECT tenant, currency, period_start, period_end,
           coalesce(sum(amount) FILTER (WHERE meter IS NULL), 0) AS fees,
           coalesce(sum(amount) FILTER (
               WHERE measure IN ('peak', 'average', 'p95', 'last', 'min', 'unit_hours', 'sum_of_peaks')), 0) AS levels,
           coalesce(sum(amount) FILTER (
               WHERE meter IS NOT NULL
                 AND measure NOT IN ('peak', 'average', 'p95', 'last', 'min', 'unit_hours', 'sum_of_peaks')), 0) AS used
    FROM open
    GROUP BY 1, 2, 3, 4
), shares AS (
    SELECT *,
           CAST(date_part('epoch', period_end) - date_part('epoch', period_start) AS DECIMAL(18, 0)) AS whole,
           CAST(date_part('epoch', least(greatest(CAST($now AS TIMESTAMP), CAST(period_start AS TIMESTAMP)), CAST(period_end AS TIMESTAMP)))
                - date_part('epoch', period_start) AS DECIMAL(18, 0)) AS elapsed
    FROM sums
)
SELECT tenant, currency, fees, levels, used, fees + levels + used AS so_far,
       CASE WHEN elapsed > 0 THEN round(fees + levels + used * whole / elapsed, 2) END AS forecast
FROM shares
ORDER BY forecast DESC NULLS LAST, tenant, currency
