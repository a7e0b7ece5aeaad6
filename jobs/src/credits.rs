//! `meterhouse credits`: granting credits to tenants, and what is left of each.
//!
//! Owns the command. The ledger is the book's (`book/credits`), the order in which credits pay is `rating`'s, and `issue`
//! takes out what an invoice used.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use rating::money::{Amount, Currency};

use crate::book::{Book, CreditKind, NewCreditEntry};
use crate::catalog::point_in_time;
use crate::cli::{Exit, Globals, runtime};
use crate::output::{Format, Rows};
use crate::rate::credits::entry_key;
use crate::runs::instant;

/// Grant credits, or list what is left of them
#[derive(Debug, Clone, Args)]
pub struct CreditsArgs {
    #[command(subcommand)]
    command: CreditsCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum CreditsCommand {
    /// Give a tenant a credit that pays for its invoices
    #[command(after_help = "\
Examples:
  meterhouse credits grant --tenant acme --amount 50 --currency EUR --name welcome
  meterhouse credits grant --tenant acme --amount 500 --currency EUR --name prepaid-7 --purchase --until 2027-01-01

An invoice draws from the tenant's credits that hold at the end of its period: the lowest priority first, then what \
expires first, then what was granted first. The same grant given twice counts once. What the catalog grants is entered by \
`meterhouse rate`.")]
    Grant {
        #[arg(long)]
        tenant: String,
        #[arg(long)]
        amount: Amount,
        /// The currency of the tenant's invoices, as EUR
        #[arg(long, value_parser = currency)]
        currency: Currency,
        /// Names the credit among those of the tenant
        #[arg(long)]
        name: String,
        /// The lowest number pays first
        #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
        priority: i64,
        /// The first day, or the exact instant, at which it can pay [default: always]
        #[arg(long, value_name = "DATE", value_parser = point_in_time)]
        from: Option<i64>,
        /// The first day, or the exact instant, at which it no longer can [default: never]
        #[arg(long, value_name = "DATE", value_parser = point_in_time)]
        until: Option<i64>,
        /// It was bought with money, not given
        #[arg(long)]
        purchase: bool,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
        /// Who grants it
        #[arg(long, value_name = "NAME", env = "USER", default_value = "unknown", hide_env_values = true)]
        by: String,
    },
    /// List the credits of everybody, or of one tenant, with what is left of each
    #[command(after_help = "\
Examples:
  meterhouse credits list
  meterhouse credits list --tenant acme --entries")]
    List {
        #[arg(long)]
        tenant: Option<String>,
        /// Every movement instead of what is left
        #[arg(long)]
        entries: bool,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

fn currency(text: &str) -> Result<Currency, String> {
    text.parse().map_err(|_| "expected an ISO 4217 code like EUR".to_owned())
}

pub fn run(args: &CreditsArgs, globals: &Globals) -> Result<Exit> {
    let config = globals.load_config()?;
    runtime()?.block_on(async {
        let book = Book::of(&config).await?;
        match &args.command {
            CreditsCommand::List { tenant, entries, format } => {
                Ok(list(&book, tenant.as_deref(), *entries).await?.print(*format)?)
            }
            grant @ CreditsCommand::Grant { .. } => enter(&book, grant).await,
        }
    })?;
    Ok(Exit::Done)
}

async fn enter(book: &Book, grant: &CreditsCommand) -> Result<()> {
    let CreditsCommand::Grant {
        tenant,
        amount,
        currency,
        name,
        priority,
        from,
        until,
        purchase,
        description,
        by,
    } = grant
    else {
        return Ok(());
    };
    let amount = amount.normalize();
    if amount <= Amount::ZERO || amount.scale() > currency.minor_digits() {
        bail!(
            "--amount is {amount}: a credit is above zero and has at most {} decimals in {currency}",
            currency.minor_digits()
        );
    }
    if until.is_some_and(|until| until <= from.unwrap_or(0)) {
        bail!("--until is not after --from: the credit could never pay");
    }
    let entry = NewCreditEntry {
        entry_key: entry_key("grant", &[tenant, currency.code(), name]),
        tenant: tenant.clone(),
        currency: currency.code().to_owned(),
        kind: if *purchase { CreditKind::Purchase } else { CreditKind::Grant },
        credit: name.clone(),
        amount,
        priority: *priority,
        effective_at_us: from.unwrap_or(0),
        expires_at_us: *until,
        source: by.clone(),
        description: description.clone(),
        document: None,
    };
    let known = book.credit_accounts(std::slice::from_ref(tenant)).await?;
    let known = known.get(&(tenant.clone(), currency.code().to_owned()));
    if known.is_some_and(|account| {
        account.entries.iter().any(|own| own.entry.credit == *name && own.entry.entry_key != entry.entry_key)
    }) {
        bail!("{tenant} has a credit called {name} already: give this one another --name");
    }
    let writing = book.begin().await?;
    writing.enter_credits(std::slice::from_ref(&entry)).await?;
    writing.commit().await?;
    eprintln!("{tenant} has the credit {name} of {amount} {currency}");
    Ok(())
}

async fn list(book: &Book, tenant: Option<&str>, entries: bool) -> Result<Rows> {
    let tenants = match tenant {
        Some(tenant) => vec![tenant.to_owned()],
        None => book.credit_tenants().await?,
    };
    let accounts = book.credit_accounts(&tenants).await?;
    let when = |at_us: Option<i64>| match at_us {
        None | Some(0) => String::new(),
        Some(at_us) => instant(at_us),
    };
    if entries {
        let mut rows =
            Rows::new(&["tenant", "currency", "nr", "credit", "kind", "amount", "recorded", "source"]);
        for ((tenant, currency), account) in accounts {
            for own in account.entries {
                rows.push(vec![
                    tenant.clone().into(),
                    currency.clone().into(),
                    own.position.into(),
                    own.entry.credit.into(),
                    own.entry.kind.name().into(),
                    own.entry.amount.to_string().into(),
                    instant(own.recorded_at_us).into(),
                    own.entry.source.into(),
                ]);
            }
        }
        return Ok(rows);
    }
    let mut rows = Rows::new(&["tenant", "currency", "credit", "left", "priority", "from", "until"]);
    for ((tenant, currency), account) in accounts {
        let mut credits = account.credits();
        credits.sort_by(rating::invoice::credit::Credit::drawing_order);
        for credit in credits {
            rows.push(vec![
                tenant.clone().into(),
                currency.clone().into(),
                credit.id.into(),
                credit.balance.to_string().into(),
                credit.priority.into(),
                when(Some(credit.effective_us)).into(),
                when(credit.expires_us).into(),
            ]);
        }
    }
    Ok(rows)
}
