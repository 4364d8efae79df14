//! `keygate key list`.

use keygate_protocol::admin::{KeyList, KeyPage, LIST_PAGE_MAX};
use serde_json::Value;

use super::super::error::CliError;
use super::super::output::{print, print_json, table};
use super::super::{Global, when};
use crate::client::Client;
use crate::key::{KeyRecord, Status, Time};

/// What a list shows if nothing else is asked for.
const COLUMNS: [&str; 5] = ["id", "status", "tenant_id", "key_prefix", "name"];

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct List {
    /// Only this tenant's keys
    #[arg(long, value_name = "T")]
    tenant: Option<String>,
    /// Only keys of this status, such as ACTIVE
    #[arg(long, value_name = "S", value_parser = super::life::status)]
    status: Option<Status>,
    /// Only keys with this tag
    #[arg(long, value_name = "T")]
    tag: Option<String>,
    /// Only keys whose visible prefix begins with this
    #[arg(long, value_name = "P")]
    prefix: Option<String>,
    /// Only keys that end before this: within a duration such as 30d, or before an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = when::from_now)]
    expiring_before: Option<Time>,
    /// Only keys without a security review since: a duration ago such as 90d, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    not_reviewed_since: Option<Time>,
    /// Only keys without a valid verdict since: a duration ago such as 90d, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", value_parser = when::ago)]
    not_used_since: Option<Time>,
    /// Only keys whose rotation is overdue
    #[arg(long)]
    rotation_overdue: bool,
    /// Only keys with this text in name, description or a tag, in whatever case
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Deleted keys too
    #[arg(long)]
    deleted: bool,
    /// Only deleted keys
    #[arg(long)]
    only_deleted: bool,
    /// All of them, page after page
    #[arg(long, conflicts_with_all = ["limit", "page", "page_size"])]
    all: bool,
    /// Records on the page; 100 if not given
    #[arg(long, value_name = "N", value_parser = page_length())]
    limit: Option<u32>,
    /// Go on after this id: the `next` of the page before
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// The page of this number, from 1
    #[arg(long, value_name = "N", conflicts_with_all = ["after", "limit"])]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    page: Option<u64>,
    /// Records on each page, for --page; 100 if not given
    #[arg(long, value_name = "N", requires = "page", value_parser = page_length())]
    page_size: Option<u32>,
    /// Count what passes the filters, on all pages
    #[arg(long)]
    count: bool,
    /// Fields of the record to show, joined by commas
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', value_parser = field)]
    columns: Vec<String>,
}

fn page_length() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(LIST_PAGE_MAX))
}

/// The name of a field of the record.
fn field(text: &str) -> Result<String, String> {
    let known = KeyRecord::FIELDS.iter().any(|field| field.name == text);
    known.then(|| text.to_owned()).ok_or("no such field; `key get --json` shows them".to_owned())
}

pub(super) fn run(args: &List, global: &Global) -> Result<(), CliError> {
    if global.json && args.all {
        return global.with_admin(async |client| print_all(&client, args.request()).await);
    }
    let page = global.with_admin(async |client| {
        let wanted = if args.all { u32::MAX } else { args.wanted() };
        whole_page(&client, args.request(), wanted).await
    })?;
    if global.json {
        print_json(&page)?;
        // Beside the JSON: whoever pipes it on would take a page for the whole.
        say_where_it_stands(&page, args.page);
        return Ok(());
    }
    print_table(args, &page)?;
    say_where_it_stands(&page, args.page);
    Ok(())
}

fn print_table(args: &List, page: &KeyPage) -> Result<(), CliError> {
    let columns: Vec<&str> = match args.columns.as_slice() {
        [] => COLUMNS.to_vec(),
        columns => columns.iter().map(String::as_str).collect(),
    };
    let headings: Vec<String> = columns.iter().map(|name| heading(name)).collect();
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let row = |key: &Value| columns.iter().map(|name| cell(key, name)).collect();
    let rows: Vec<Vec<String>> = page.keys.iter().map(row).collect();
    print(&table(&headings, &rows))
}

/// One document of all pages, printed as they come: a million keys need not be held. Cut short, it
/// is no JSON.
async fn print_all(client: &Client, mut request: KeyList) -> Result<(), CliError> {
    print("{\"keys\":[")?;
    let (mut comma, mut total) = ("", None);
    loop {
        let page = client.list(&request).await?;
        let mut text = String::new();
        for key in &page.keys {
            text += &format!("{comma}{key}");
            comma = ",";
        }
        print(&text)?;
        total = total.or(page.total.map(|total| (total, page.total_is_lower_bound)));
        let Some(next) = page.next else { break };
        request.after = Some(next);
        request.count = false;
    }
    let counted = total.map(|(total, bound)| {
        let bound = if bound { ",\"total_is_lower_bound\":true" } else { "" };
        format!(",\"total\":{total}{bound}")
    });
    print(&format!("]{}}}\n", counted.unwrap_or_default()))
}

/// One page, however often the daemon has to be asked: an answer is short where filters pass few
/// of the records that the daemon looks at for one request.
async fn whole_page(
    client: &Client,
    mut request: KeyList,
    wanted: u32,
) -> Result<KeyPage, CliError> {
    let mut page = client.list(&request).await?;
    loop {
        let have = u32::try_from(page.keys.len()).unwrap_or(u32::MAX);
        let (Some(next), true) = (&page.next, have < wanted) else { return Ok(page) };
        request.after = Some(next.clone());
        (request.page, request.page_size, request.count) = (None, None, false);
        request.limit = Some((wanted - have).min(LIST_PAGE_MAX));
        let more = client.list(&request).await?;
        page.keys.extend(more.keys);
        page.next = more.next;
    }
}

fn say_where_it_stands(page: &KeyPage, number: Option<u64>) {
    if let Some(total) = page.total {
        let at_least = if page.total_is_lower_bound { "at least " } else { "" };
        match page.total_pages {
            Some(pages) => {
                let (keys, pages) = (counted(total, "key"), counted(pages, "page"));
                eprintln!("{at_least}{keys}, on {at_least}{pages}");
            }
            None => eprintln!("{at_least}{}", counted(total, "key")),
        }
    }
    if let Some(next) = &page.next {
        match number {
            Some(number) => eprintln!("there are more: --page {}", number.saturating_add(1)),
            None => eprintln!("there are more: --after {next}"),
        }
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn heading(column: &str) -> String {
    match column {
        "tenant_id" => "TENANT".to_owned(),
        "key_prefix" => "PREFIX".to_owned(),
        column => column.to_uppercase(),
    }
}

fn cell(key: &Value, name: &str) -> String {
    match &key[name] {
        Value::String(text) if name == "status" => {
            let text = text.strip_prefix("STATUS_").unwrap_or(text);
            // A deleted key is unknown to decisions, whatever its status was.
            let deleted = if key["deleted_at"].is_null() { "" } else { " (deleted)" };
            format!("{text}{deleted}")
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            items.join(" ")
        }
        Value::Null => String::new(),
        value => value.to_string(),
    }
}

impl List {
    /// Records that are wanted, where not all are.
    fn wanted(&self) -> u32 {
        self.page_size.or(self.limit).unwrap_or(100)
    }

    fn request(&self) -> KeyList {
        let instant = |time: Option<Time>| time.map(|time| time.to_string());
        KeyList {
            tenant_id: self.tenant.clone(),
            status: self.status.map(|status| status.name().to_owned()),
            tag: self.tag.clone(),
            prefix: self.prefix.clone(),
            expiring_before: instant(self.expiring_before),
            not_reviewed_since: instant(self.not_reviewed_since),
            not_used_since: instant(self.not_used_since),
            rotation_overdue: self.rotation_overdue,
            search: self.search.clone(),
            deleted: self.deleted,
            only_deleted: self.only_deleted,
            after: self.after.clone(),
            limit: if self.all { Some(LIST_PAGE_MAX) } else { self.limit },
            page: self.page,
            page_size: self.page_size,
            count: self.count,
        }
    }
}
