//! What the fake remembers, and its answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

use super::faults::{Fault, FaultCounts, Faults};

const DAY_US: i64 = 86_400_000_000;

#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub parameters: BTreeMap<String, String>,
    pub authorization: Option<String>,
    pub idempotency_key: Option<String>,
    pub api_version: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub identifier: String,
    pub name: String,
    pub customer: String,
    pub value: i64,
    pub at_s: i64,
    pub received_us: i64,
    pub is_counted: bool,
    pub is_cancelled: bool,
}

#[derive(Debug, Clone)]
pub struct Invoice {
    pub id: String,
    pub customer: String,
    pub currency: String,
    pub status: &'static str,
    pub metadata: BTreeMap<String, String>,
    pub created_s: i64,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub id: String,
    pub invoice: Option<String>,
    pub customer: String,
    pub amount: i64,
    pub metadata: BTreeMap<String, String>,
    pub created_s: i64,
}

impl Item {
    /// As somebody adds it in the dashboard.
    pub fn by_hand(invoice: &str, customer: &str, amount: i64) -> Self {
        Self {
            id: format!("ii_by_hand_{invoice}"),
            invoice: Some(invoice.to_owned()),
            customer: customer.to_owned(),
            amount,
            metadata: BTreeMap::new(),
            created_s: 0,
        }
    }
}

#[derive(Debug, Clone)]
struct Remembered {
    at_us: i64,
    call: String,
    status: u16,
    body: String,
}

#[derive(Debug)]
pub struct State {
    pub customers: BTreeSet<String>,
    /// Event names of meters that take the last value; the others add up.
    pub meters: BTreeMap<String, bool>,
    pub events: Vec<Event>,
    pub invoices: Vec<Invoice>,
    pub items: Vec<Item>,
    /// By subscription item and second: what was set or added up there.
    pub usage: BTreeMap<(String, i64), i64>,
    /// Subscription items of which the last value counts.
    pub last_items: BTreeSet<String>,
    /// The day on which the billing periods of all subscriptions start, in UTC, and of how many months they are.
    pub billing: (i8, i32),
    pub faults: Faults,
    pub happened: FaultCounts,
    pub connections: u64,
    /// Connections that are open now.
    pub open: u64,
    pub calls: u64,
    /// Calls that are being answered now, and the most at any time.
    pub under_way: u64,
    pub under_way_max: u64,
    pub replays: u64,
    /// Calls of one customer and meter at the same time: must never happen.
    pub collisions: u64,
    /// Keys that came with other parameters than before: must never happen.
    pub mismatches: u64,
    pub api_versions: BTreeSet<String>,
    keys: HashMap<String, Remembered>,
    identifiers: HashMap<String, i64>,
    busy: HashSet<String>,
    random: u64,
}

pub struct Refusal {
    status: u16,
    kind: &'static str,
    code: &'static str,
    message: String,
}

fn refuse(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status: 400, kind: "invalid_request_error", code, message: message.into() }
}

impl Refusal {
    fn reply(&self) -> Reply {
        let error = json!({"error": {"type": self.kind, "code": self.code, "message": self.message}});
        let retry = ("stripe-should-retry", "false".to_owned());
        Reply { status: self.status, headers: vec![retry], body: error.to_string() }
    }
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self {
            customers: BTreeSet::new(),
            meters: BTreeMap::new(),
            events: Vec::new(),
            invoices: Vec::new(),
            items: Vec::new(),
            usage: BTreeMap::new(),
            last_items: BTreeSet::new(),
            billing: (20, 2),
            faults: Faults::none(),
            happened: FaultCounts::new(),
            connections: 0,
            open: 0,
            calls: 0,
            under_way: 0,
            under_way_max: 0,
            replays: 0,
            collisions: 0,
            mismatches: 0,
            api_versions: BTreeSet::new(),
            keys: HashMap::new(),
            identifiers: HashMap::new(),
            busy: HashSet::new(),
            random: seed,
        }
    }

    fn number(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % 1000
    }

    /// Stripe wants one call at a time of one customer and meter.
    pub fn enter(&mut self, call: &Call) -> Option<String> {
        self.under_way += 1;
        self.under_way_max = self.under_way_max.max(self.under_way);
        let customer = call.parameters.get("payload[stripe_customer_id]")?;
        let lane = format!("{customer}/{}", call.parameters.get("event_name")?);
        if self.busy.insert(lane.clone()) {
            return Some(lane);
        }
        self.collisions += 1;
        None
    }

    pub fn leave(&mut self, lane: Option<String>) {
        self.under_way -= 1;
        if let Some(lane) = lane {
            self.busy.remove(&lane);
        }
    }

    pub fn answer(&mut self, call: &Call, now_us: i64) -> (Option<Fault>, Reply) {
        self.calls += 1;
        self.api_versions.extend(call.api_version.clone());
        if call.authorization.as_deref() != Some(&format!("Bearer {}", super::KEY)) {
            let problem = Refusal {
                status: 401,
                kind: "invalid_request_error",
                code: "",
                message: "no such key".into(),
            };
            return (None, problem.reply());
        }
        let number = self.number();
        let is_event = call.path == "/v1/billing/meter_events";
        let fault = self.faults.at(number).filter(|fault| *fault != Fault::RejectedLater || is_event);
        let (fault, reply) = self.answer_with(call, fault, now_us);
        if let Some(fault) = fault {
            *self.happened.entry(fault).or_default() += 1;
        }
        (fault, reply)
    }

    fn answer_with(&mut self, call: &Call, fault: Option<Fault>, now_us: i64) -> (Option<Fault>, Reply) {
        let error = |status: u16, header: Option<(&'static str, String)>| Reply {
            status,
            headers: header.into_iter().collect(),
            body: json!({"error": {"type": "api_error", "message": "something broke"}}).to_string(),
        };
        match fault {
            Some(Fault::TooMany) => {
                return (fault, error(429, Some(("retry-after", "2".to_owned()))));
            }
            Some(Fault::Locked) => return (fault, error(409, None)),
            Some(Fault::SilentBefore | Fault::ResetBefore | Fault::ErrorForgotten) => {
                return (fault, error(500, None));
            }
            _ => {}
        }
        let text = format!("{} {} {:?}", call.method, call.path, call.parameters);
        if let Some(known) =
            call.idempotency_key.as_ref().and_then(|key| self.remembered(key, now_us)).cloned()
        {
            self.replays += 1;
            if known.call != text {
                self.mismatches += 1;
                let refusal = Refusal { kind: "idempotency_error", ..refuse("", "other parameters") };
                return (None, refusal.reply());
            }
            let headers = vec![("idempotent-replayed", "true".to_owned())];
            let lost = fault
                .filter(|fault| matches!(fault, Fault::SilentAfter | Fault::ResetAfter | Fault::CutAfter));
            return (lost, Reply { status: known.status, headers, body: known.body.clone() });
        }
        if fault == Some(Fault::ErrorBefore) {
            let reply = error(500, None);
            self.remember(call, text, &reply, now_us);
            return (fault, reply);
        }
        let reply = match self.work(call, fault == Some(Fault::RejectedLater), now_us) {
            Ok(body) => Reply { status: 200, headers: Vec::new(), body: body.to_string() },
            // What fails validation is not remembered.
            Err(refusal) => return (None, refusal.reply()),
        };
        let reply = if fault == Some(Fault::ErrorAfter) { error(500, None) } else { reply };
        self.remember(call, text, &reply, now_us);
        (fault, reply)
    }

    /// What a key was answered within the last day.
    fn remembered(&self, key: &str, now_us: i64) -> Option<&Remembered> {
        self.keys.get(key).filter(|known| known.at_us + DAY_US > now_us)
    }

    fn remember(&mut self, call: &Call, text: String, reply: &Reply, now_us: i64) {
        if let Some(key) = &call.idempotency_key {
            let known =
                Remembered { at_us: now_us, call: text, status: reply.status, body: reply.body.clone() };
            self.keys.insert(key.clone(), known);
        }
    }

    fn work(&mut self, call: &Call, rejects: bool, now_us: i64) -> Result<Value, Refusal> {
        let parts: Vec<&str> = call.path.trim_start_matches("/v1/").split('/').collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("POST", ["billing", "meter_events"]) => self.meter_event(call, rejects, now_us),
            ("POST", ["billing", "meter_event_adjustments"]) => self.cancel(call, now_us),
            ("GET", ["billing", "meters"]) => Ok(self.list_meters()),
            ("GET", ["billing", "meters", meter, "event_summaries"]) => self.summaries(call, meter),
            ("POST", ["subscription_items", item, "usage_records"]) => self.usage_record(call, item, now_us),
            ("GET", ["subscription_items", item, "usage_record_summaries"]) => Ok(self.usage_summaries(item)),
            ("POST", ["invoices"]) => self.create_invoice(call, now_us),
            ("GET", ["invoices"]) => Ok(self.list(call, "in_")),
            ("GET", ["invoices", id]) => self.show_invoice(id),
            ("POST", ["invoices", id, "finalize"]) => self.finalize(id),
            ("POST", ["invoiceitems"]) => self.create_item(call, now_us),
            ("GET", ["invoiceitems"]) => Ok(self.list(call, "ii_")),
            _ => Err(refuse("", format!("no such address: {} {}", call.method, call.path))),
        }
    }

    fn customer(&self, call: &Call, name: &str) -> Result<String, Refusal> {
        let customer = call.parameters.get(name).cloned().unwrap_or_default();
        if self.customers.contains(&customer) {
            return Ok(customer);
        }
        Err(refuse("resource_missing", format!("no such customer: {customer}")))
    }

    fn meter_event(&mut self, call: &Call, rejects: bool, now_us: i64) -> Result<Value, Refusal> {
        let identifier = call.parameters["identifier"].clone();
        let at_s: i64 = call.parameters["timestamp"].parse().unwrap();
        let now_s = now_us / 1_000_000;
        if identifier.len() > 100 {
            return Err(refuse("", "the identifier is too long"));
        }
        if at_s < now_s - 35 * 86_400 || at_s > now_s + 300 {
            return Err(refuse("timestamp_out_of_range", "the timestamp is too old or too far ahead"));
        }
        if !self.meters.contains_key(&call.parameters["event_name"]) {
            return Err(refuse("resource_missing", "no such meter"));
        }
        if self.identifiers.get(&identifier).is_some_and(|at_us| *at_us + DAY_US > now_us) {
            return Err(refuse("", format!("An event already exists with identifier {identifier}.")));
        }
        let customer = self.customer(call, "payload[stripe_customer_id]")?;
        self.identifiers.insert(identifier.clone(), now_us);
        self.events.push(Event {
            name: call.parameters["event_name"].clone(),
            customer,
            value: call.parameters["payload[value]"].parse().unwrap(),
            at_s,
            received_us: now_us,
            is_counted: !rejects,
            is_cancelled: false,
            identifier: identifier.clone(),
        });
        Ok(json!({"object": "billing.meter_event", "identifier": identifier, "timestamp": at_s}))
    }

    fn cancel(&mut self, call: &Call, now_us: i64) -> Result<Value, Refusal> {
        let identifier = &call.parameters["cancel[identifier]"];
        let event = self.events.iter_mut().find(|event| event.identifier == *identifier);
        let event = event.ok_or_else(|| refuse("resource_missing", "no such event"))?;
        if event.received_us + DAY_US <= now_us {
            return Err(refuse("out_of_window", "only within 24 hours"));
        }
        if event.is_cancelled {
            return Err(refuse("", "The event has already been cancelled."));
        }
        event.is_cancelled = true;
        Ok(json!({"object": "billing.meter_event_adjustment", "status": "pending"}))
    }

    fn list_meters(&self) -> Value {
        let meters = self.meters.keys().map(|name| json!({"id": format!("mtr_{name}"), "event_name": name}));
        json!({"object": "list", "data": meters.collect::<Vec<_>>(), "has_more": false})
    }

    /// What Stripe would bill of a customer's events in a window.
    pub fn counted(&self, event_name: &str, customer: &str, start_s: i64, end_s: i64) -> i64 {
        let events = self.events.iter().filter(|event| {
            event.name == event_name
                && event.customer == customer
                && (start_s..end_s).contains(&event.at_s)
                && event.is_counted
                && !event.is_cancelled
        });
        if self.meters[event_name] {
            return events.max_by_key(|event| (event.at_s, event.received_us)).map_or(0, |event| event.value);
        }
        events.map(|event| event.value).sum()
    }

    fn summaries(&self, call: &Call, meter: &str) -> Result<Value, Refusal> {
        let number = |name: &str| call.parameters[name].parse::<i64>().unwrap();
        let (start_s, end_s) = (number("start_time"), number("end_time"));
        if start_s % 60 != 0 || end_s % 60 != 0 || start_s >= end_s {
            return Err(refuse("", "start_time and end_time must be whole minutes"));
        }
        let name = meter.trim_start_matches("mtr_");
        let sum = self.counted(name, &call.parameters["customer"], start_s, end_s);
        let value: Value = serde_json::from_str(&format!("{sum}.0")).unwrap();
        let data = json!([{"aggregated_value": value, "start_time": start_s, "end_time": end_s}]);
        Ok(json!({"object": "list", "data": data, "has_more": false}))
    }

    fn usage_record(&mut self, call: &Call, item: &str, now_us: i64) -> Result<Value, Refusal> {
        if call.api_version.as_deref().is_none_or(|version| version >= "2025-03-31") {
            return Err(refuse("", "this version has no usage records"));
        }
        let at_s: i64 = call.parameters["timestamp"].parse().unwrap();
        let (start_s, end_s) = period_of(now_us / 1_000_000, self.billing);
        if at_s < start_s {
            let message = "Cannot create the usage record with this timestamp because timestamps must be after the \
                           subscription's last invoice period (or current period start time).";
            return Err(refuse("", message));
        }
        if at_s >= end_s {
            return Err(refuse("", "timestamps must be before the end of the current period"));
        }
        let quantity: u32 = call.parameters["quantity"].parse().unwrap();
        let usage = self.usage.entry((item.to_owned(), at_s)).or_default();
        match call.parameters["action"].as_str() {
            "set" => *usage = quantity.into(),
            _ => *usage += i64::from(quantity),
        }
        Ok(json!({"id": format!("mbur_{item}_{at_s}"), "object": "usage_record", "quantity": quantity}))
    }

    /// What an item used in all of its billing periods.
    pub fn used(&self, item: &str) -> i64 {
        self.used_by_period(item).values().sum()
    }

    /// By billing periods.
    fn used_by_period(&self, item: &str) -> BTreeMap<(i64, i64), i64> {
        let mut periods = BTreeMap::new();
        // In the order of their times.
        for ((_, at_s), value) in self.usage.iter().filter(|((own, _), _)| own == item) {
            let used = periods.entry(period_of(*at_s, self.billing)).or_insert(0);
            *used = if self.last_items.contains(item) { *value } else { *used + value };
        }
        periods
    }

    fn usage_summaries(&self, item: &str) -> Value {
        let periods = self.used_by_period(item).into_iter().rev();
        let summary =
            |((start, end), used)| json!({"total_usage": used, "period": {"start": start, "end": end}});
        json!({"object": "list", "data": periods.map(summary).collect::<Vec<_>>(), "has_more": false})
    }

    fn create_invoice(&mut self, call: &Call, now_us: i64) -> Result<Value, Refusal> {
        let customer = self.customer(call, "customer")?;
        let id = format!("in_{}", self.invoices.len());
        self.invoices.push(Invoice {
            id: id.clone(),
            customer,
            currency: call.parameters["currency"].clone(),
            status: "draft",
            metadata: metadata(call),
            created_s: now_us / 1_000_000,
        });
        self.show_invoice(&id)
    }

    pub fn total(&self, invoice: &str) -> i64 {
        self.items
            .iter()
            .filter(|item| item.invoice.as_deref() == Some(invoice))
            .map(|item| item.amount)
            .sum()
    }

    fn show_invoice(&self, id: &str) -> Result<Value, Refusal> {
        let invoice = self.invoices.iter().find(|invoice| invoice.id == id);
        let invoice = invoice.ok_or_else(|| refuse("resource_missing", format!("no such invoice: {id}")))?;
        Ok(json!({
            "id": id, "object": "invoice", "customer": invoice.customer, "currency": invoice.currency,
            "status": invoice.status, "metadata": invoice.metadata, "total": self.total(id),
            "created": invoice.created_s,
        }))
    }

    fn finalize(&mut self, id: &str) -> Result<Value, Refusal> {
        let invoice = self.invoices.iter_mut().find(|invoice| invoice.id == id);
        let invoice = invoice.ok_or_else(|| refuse("resource_missing", "no such invoice"))?;
        if invoice.status != "draft" {
            return Err(refuse("invoice_not_editable", "it is final already"));
        }
        invoice.status = "open";
        self.show_invoice(id)
    }

    fn create_item(&mut self, call: &Call, now_us: i64) -> Result<Value, Refusal> {
        let customer = self.customer(call, "customer")?;
        let invoice = call.parameters.get("invoice").cloned();
        if let Some(id) = &invoice {
            let known = self.invoices.iter().find(|known| known.id == *id);
            if known.is_none_or(|known| known.status != "draft" || known.customer != customer) {
                return Err(refuse("invoice_not_editable", format!("nothing can be put on {id}")));
            }
        }
        let id = format!("ii_{}", self.items.len());
        self.items.push(Item {
            id: id.clone(),
            invoice,
            customer,
            amount: call.parameters["amount"].parse().unwrap(),
            metadata: metadata(call),
            created_s: now_us / 1_000_000,
        });
        Ok(json!({"id": id, "object": "invoiceitem"}))
    }

    /// A page of invoices or items, newest first, as Stripe lists them.
    fn list(&self, call: &Call, prefix: &str) -> Value {
        let since_s: i64 = call.parameters.get("created[gte]").map_or(0, |since| since.parse().unwrap());
        let customer = &call.parameters["customer"];
        // Small pages, so that reading on is needed.
        let limit = call.parameters["limit"].parse::<usize>().unwrap().min(3);
        let mut all: Vec<(String, Value)> = Vec::new();
        if prefix == "in_" {
            for own in
                self.invoices.iter().filter(|own| own.customer == *customer && own.created_s >= since_s)
            {
                all.push((own.id.clone(), self.show_invoice(&own.id).ok().unwrap()));
            }
        } else {
            for own in self.items.iter().filter(|own| own.customer == *customer && own.created_s >= since_s) {
                all.push((
                    own.id.clone(),
                    json!({"id": own.id, "metadata": own.metadata, "amount": own.amount}),
                ));
            }
        }
        all.reverse();
        let after = call.parameters.get("starting_after");
        let start = after.map_or(0, |after| all.iter().position(|(id, _)| id == after).unwrap() + 1);
        let page: Vec<Value> = all.iter().skip(start).take(limit).map(|(_, object)| object.clone()).collect();
        json!({"object": "list", "has_more": start + page.len() < all.len(), "data": page})
    }
}

fn metadata(call: &Call) -> BTreeMap<String, String> {
    let own = |(name, value): (&String, &String)| {
        let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
        Some((name.to_owned(), value.clone()))
    };
    call.parameters.iter().filter_map(own).collect()
}

/// The instants at which the billing period of an instant starts and ends. One starts in January of year 0.
fn period_of(at_s: i64, (day, months): (i8, i32)) -> (i64, i64) {
    use jiff::ToSpan as _;
    let utc = jiff::tz::TimeZone::UTC;
    let at = jiff::Timestamp::from_second(at_s).unwrap().to_zoned(utc.clone()).date();
    let own = at.with().day(day).build().unwrap();
    let latest = if own <= at { own } else { own.checked_sub(1.month()).unwrap() };
    let month = i32::from(latest.year()) * 12 + i32::from(latest.month()) - 1;
    let start = latest.checked_sub(month.rem_euclid(months).months()).unwrap();
    let start_s = |day: jiff::civil::Date| day.to_zoned(utc.clone()).unwrap().timestamp().as_second();
    (start_s(start), start_s(start.checked_add(months.months()).unwrap()))
}
