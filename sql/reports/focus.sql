-- title: FOCUS 1.2 cost and usage
-- about: The lines of invoices in the columns of the FinOps Open Cost and Usage Specification, for `meterhouse export focus`.
-- about: A line whose amount is its quantity times a unit price says both; any other (tiers, fees, rounding) is one unit at its amount.
-- parameter period = last_month: the month in which the periods start
-- parameter issuer = Meterhouse: who issues the invoices
WITH billed AS (
    SELECT lines.*, invoices.number, invoices.period_start_time, invoices.period_end_time,
           coalesce(tenants.name, lines.tenant) AS tenant_name,
           CASE WHEN lines.billable > 0 THEN round(CAST(lines.amount AS DECIMAL(28, 9)) / CAST(lines.billable AS DECIMAL(28, 9)), 9) END AS unit_price
    FROM invoice_lines AS lines
    JOIN invoices ON invoices.invoice = lines.invoice
    LEFT JOIN tenants ON tenants.tenant = lines.tenant
    WHERE left(lines.period, 7) = $period
), priced AS (
    SELECT *, coalesce(CAST(billable AS DECIMAL(19, 9)) * CAST(unit_price AS DECIMAL(19, 9)) = amount, false) AS is_product
    FROM billed
)
SELECT
    CAST(NULL AS TEXT) AS "AvailabilityZone",
    amount AS "BilledCost",
    tenant AS "BillingAccountId",
    tenant_name AS "BillingAccountName",
    'Tenant' AS "BillingAccountType",
    currency AS "BillingCurrency",
    period_end_time AS "BillingPeriodEnd",
    period_start_time AS "BillingPeriodStart",
    CAST(NULL AS TEXT) AS "CapacityReservationId",
    CAST(NULL AS TEXT) AS "CapacityReservationStatus",
    CASE WHEN meter IS NULL THEN 'Purchase' ELSE 'Usage' END AS "ChargeCategory",
    CAST(NULL AS TEXT) AS "ChargeClass",
    description AS "ChargeDescription",
    CASE WHEN meter IS NOT NULL THEN 'Usage-Based' WHEN subscription = '' THEN 'One-Time' ELSE 'Recurring' END AS "ChargeFrequency",
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
    amount AS "ContractedCost",
    CASE WHEN is_product THEN unit_price ELSE amount END AS "ContractedUnitPrice",
    amount AS "EffectiveCost",
    number AS "InvoiceId",
    $issuer AS "InvoiceIssuerName",
    amount AS "ListCost",
    CASE WHEN is_product THEN unit_price ELSE amount END AS "ListUnitPrice",
    'Standard' AS "PricingCategory",
    currency AS "PricingCurrency",
    CASE WHEN is_product THEN unit_price ELSE amount END AS "PricingCurrencyContractedUnitPrice",
    amount AS "PricingCurrencyEffectiveCost",
    CASE WHEN is_product THEN unit_price ELSE amount END AS "PricingCurrencyListUnitPrice",
    CASE WHEN is_product THEN billable ELSE CAST(1 AS DECIMAL(38, 9)) END AS "PricingQuantity",
    CASE WHEN is_product THEN billable_unit ELSE 'Unit' END AS "PricingUnit",
    $issuer AS "ProviderName",
    $issuer AS "PublisherName",
    CAST(NULL AS TEXT) AS "RegionId",
    CAST(NULL AS TEXT) AS "RegionName",
    CAST(NULL AS TEXT) AS "ResourceId",
    CAST(NULL AS TEXT) AS "ResourceName",
    CAST(NULL AS TEXT) AS "ResourceType",
    'Other' AS "ServiceCategory",
    coalesce(meter, price) AS "ServiceName",
    'Other (Other)' AS "ServiceSubcategory",
    price AS "SkuId",
    meter AS "SkuMeter",
    CAST(NULL AS TEXT) AS "SkuPriceDetails",
    concat(price, '/', subscription) AS "SkuPriceId",
    nullif(subscription, '') AS "SubAccountId",
    nullif(subscription, '') AS "SubAccountName",
    CASE WHEN subscription <> '' THEN 'Subscription' END AS "SubAccountType",
    '{}' AS "Tags"
FROM priced
ORDER BY tenant, line
