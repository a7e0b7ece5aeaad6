-- roll-ups: a row per tenant, UTC day, question and its part of the day; only what the newest run found
SELECT newest.*
FROM lake.usage_daily AS newest
JOIN (
    SELECT usage_day, tenant, max(generation) AS generation
    FROM lake.usage_daily
    GROUP BY usage_day, tenant
) AS found USING (usage_day, tenant, generation)
WHERE newest.meter IS NOT NULL
