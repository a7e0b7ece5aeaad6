-- title: Overage by tenant
-- about: What tenants pay for usage beyond what their plan, or their own terms, include. Corrections count to the price that they correct. Of a
-- about: subscription that the catalog does not know any more, any plan's allowance for a price of that name counts.
-- parameter period = last_month: the month in which the periods start
-- money: overage
-- chart: bar tenant overage
WITH lines AS (
    SELECT tenant, subscription, price, currency, billable, amount, span_start, span_end, meter IS NULL AS is_correction,
           max(meter) OVER own AS meter, max(billable_unit) OVER own AS unit
    FROM invoice_lines
    WHERE left(period, 7) = $period
    WINDOW own AS (PARTITION BY tenant, period, subscription, price)
), of_plans AS (
    -- A tenant that left has no subscriptions any more; they mostly had the names of their plans.
    SELECT lines.*, coalesce(subscriptions.plan, named.plan) AS plan
    FROM lines
    LEFT JOIN subscriptions ON subscriptions.tenant = lines.tenant AND subscriptions.subscription = lines.subscription
    LEFT JOIN (SELECT DISTINCT plan FROM plans) AS named ON named.plan = lines.subscription
)
SELECT lines.tenant, lines.plan, lines.price, lines.meter, lines.unit, lines.currency,
       sum(lines.billable) AS beyond_included, sum(lines.amount) AS overage
FROM of_plans AS lines
WHERE (lines.is_correction OR lines.billable > 0) AND EXISTS (
    SELECT 1 FROM allowances AS included
    WHERE included.price = lines.price AND (included.plan = lines.plan OR lines.plan IS NULL)
      AND (included.tenant IS NULL OR included.tenant = lines.tenant)
      AND (included.starts IS NULL OR included.starts < lines.span_end)
      AND (included.ends IS NULL OR included.ends > lines.span_start)
)
GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY overage DESC, 1, 2, 3
