-- title: FOCUS 1.2 cost and usage
-- about: Invoices in the columns of the FinOps Open Cost and Usage Specification, for `meterhouse export focus`: a row for each line,
-- about: tax and credit. A line whose amount is its quantity times a unit price says both; any other (tiers, fees, rounding) is one unit
-- about: at its amount. A fee is the use of a subscription; a one-off purchase has two rows, its cost and its use.
-- parameter period = last_month: the month in which the periods start
-- parameter issuer = issuer: who issues the invoices; unless it is given, the setting `name` of [issuer]
WITH found AS (
    SELECT invoices.invoice, coalesce(number, invoices.invoice) AS invoice_id, invoices.tenant, period, currency, credited, taxed,
           period_start_time, period_end_time, coalesce(tenants.name, invoices.tenant) AS tenant_name
    FROM invoices
    LEFT JOIN tenants ON tenants.tenant = invoices.tenant
    WHERE left(period, 7) = $period
), billed AS (
    SELECT lines.*, lines.period <> found.period AS is_correction,
           lines.subscription = '' AND lines.period = found.period AS is_purchase,
           CASE WHEN lines.billable > 0 THEN CAST(round(CAST(lines.amount AS DECIMAL(28, 9)) / CAST(lines.billable AS DECIMAL(28, 9)), 9) AS DECIMAL(38, 9)) END AS unit_price
    FROM invoice_lines AS lines
    JOIN found ON found.invoice = lines.invoice
), priced AS (
    SELECT *, coalesce(billable * unit_price = CAST(amount AS DECIMAL(38, 18)), false) AS is_product
    FROM billed
), charges AS (
    SELECT invoice, line AS place, description,
           CASE WHEN is_purchase THEN 'Purchase' ELSE 'Usage' END AS category,
           CASE WHEN is_correction THEN 'Correction' END AS class,
           CASE WHEN is_purchase OR is_correction THEN 'One-Time' WHEN meter IS NULL THEN 'Recurring' ELSE 'Usage-Based' END AS frequency,
           span_start, span_end, price, coalesce(meter, price) AS meter, nullif(subscription, '') AS subscription,
           CASE WHEN is_purchase THEN NULL WHEN meter IS NULL THEN CAST(1 AS DECIMAL(38, 9)) ELSE quantity END AS quantity,
           CASE WHEN meter IS NULL THEN 'Unit' ELSE unit END AS unit,
           amount AS billed, CASE WHEN is_purchase THEN CAST(0 AS DECIMAL(38, 9)) ELSE amount END AS effective, amount AS priced,
           CASE WHEN is_product THEN unit_price ELSE amount END AS unit_price,
           CASE WHEN is_product THEN billable ELSE CAST(1 AS DECIMAL(38, 9)) END AS pricing_quantity,
           CASE WHEN is_product THEN billable_unit ELSE 'Unit' END AS pricing_unit
    FROM priced
    UNION ALL
    SELECT invoice, line, concat('Use of ', description), 'Usage', NULL, 'One-Time', span_start, span_end, price, coalesce(meter, price) AS meter, NULL,
           quantity, unit, CAST(0 AS DECIMAL(38, 9)) AS billed, amount AS effective,
           CAST(0 AS DECIMAL(38, 9)) AS priced, CAST(0 AS DECIMAL(38, 9)) AS unit_price, CAST(1 AS DECIMAL(38, 9)) AS pricing_quantity,
           'Unit' AS pricing_unit
    FROM priced
    WHERE is_purchase
    UNION ALL
    SELECT invoice, NULL, 'Credits', 'Credit', NULL, 'One-Time', period_start_time, period_end_time, NULL, NULL, NULL, NULL, NULL,
           -credited AS billed, -credited AS effective, -credited AS priced, NULL, NULL, NULL
    FROM found
    WHERE credited <> 0
    UNION ALL
    SELECT invoice, NULL, 'Tax', 'Tax', NULL, 'Recurring', period_start_time, period_end_time, NULL, NULL, NULL, NULL, NULL,
           taxed AS billed, taxed AS effective, taxed AS priced, NULL, NULL, NULL
    FROM found
    WHERE taxed <> 0
)
SELECT
    CAST(NULL AS TEXT) AS "AvailabilityZone",
    billed AS "BilledCost",
    tenant AS "BillingAccountId",
    tenant_name AS "BillingAccountName",
    'Tenant' AS "BillingAccountType",
    currency AS "BillingCurrency",
    period_end_time AS "BillingPeriodEnd",
    period_start_time AS "BillingPeriodStart",
    CAST(NULL AS TEXT) AS "CapacityReservationId",
    CAST(NULL AS TEXT) AS "CapacityReservationStatus",
    category AS "ChargeCategory",
    class AS "ChargeClass",
    description AS "ChargeDescription",
    frequency AS "ChargeFrequency",
    span_end AS "ChargePeriodEnd",
    span_start AS "ChargePeriodStart",
    CAST(NULL AS TEXT) AS "CommitmentDiscountCategory",
    CAST(NULL AS TEXT) AS "CommitmentDiscountId",
    CAST(NULL AS TEXT) AS "CommitmentDiscountName",
    CAST(NULL AS DECIMAL(38, 9)) AS "CommitmentDiscountQuantity",
    CAST(NULL AS TEXT) AS "CommitmentDiscountStatus",
    CAST(NULL AS TEXT) AS "CommitmentDiscountType",
    CAST(NULL AS TEXT) AS "CommitmentDiscountUnit",
    quantity AS "ConsumedQuantity",
    CASE WHEN quantity IS NOT NULL THEN unit END AS "ConsumedUnit",
    priced AS "ContractedCost",
    unit_price AS "ContractedUnitPrice",
    effective AS "EffectiveCost",
    invoice_id AS "InvoiceId",
    CAST($issuer AS TEXT) AS "InvoiceIssuerName",
    priced AS "ListCost",
    unit_price AS "ListUnitPrice",
    CASE WHEN unit_price IS NOT NULL THEN 'Standard' END AS "PricingCategory",
    currency AS "PricingCurrency",
    unit_price AS "PricingCurrencyContractedUnitPrice",
    effective AS "PricingCurrencyEffectiveCost",
    unit_price AS "PricingCurrencyListUnitPrice",
    pricing_quantity AS "PricingQuantity",
    pricing_unit AS "PricingUnit",
    CAST($issuer AS TEXT) AS "ProviderName",
    CAST($issuer AS TEXT) AS "PublisherName",
    CAST(NULL AS TEXT) AS "RegionId",
    CAST(NULL AS TEXT) AS "RegionName",
    CAST(NULL AS TEXT) AS "ResourceId",
    CAST(NULL AS TEXT) AS "ResourceName",
    CAST(NULL AS TEXT) AS "ResourceType",
    'Other' AS "ServiceCategory",
    coalesce(meter, description) AS "ServiceName",
    'Other (Other)' AS "ServiceSubcategory",
    price AS "SkuId",
    meter AS "SkuMeter",
    CAST(NULL AS TEXT) AS "SkuPriceDetails",
    CASE WHEN price IS NOT NULL THEN concat_ws('/', price, subscription) END AS "SkuPriceId",
    subscription AS "SubAccountId",
    subscription AS "SubAccountName",
    CASE WHEN subscription IS NOT NULL THEN 'Subscription' END AS "SubAccountType",
    '{}' AS "Tags"
FROM charges
JOIN found ON found.invoice = charges.invoice
ORDER BY tenant, period, place NULLS LAST, category, description
