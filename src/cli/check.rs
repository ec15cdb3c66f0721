//! `larder check`: is the configuration right, what holds, and where is each value from?

use std::process::ExitCode;

use http::Method;

use crate::cli::url::Url;
use crate::cli::{USAGE, complain, header_fields, refused, say};
use crate::config::memory::MemoryPlan;
use crate::config::route::tell;
use crate::config::snapshot::Snapshot;
use crate::config::{self, Flags, Sources, effective, machine};
use crate::proxy::route;
use crate::semantics::key::Scheme;

/// Prints the effective configuration (standard output) and what is wrong or odd (standard
/// error).
pub fn check(flags: Flags) -> ExitCode {
    let loaded = match config::load(Sources::of_process(flags)) {
        Ok(loaded) => loaded,
        Err(error) => return refused(&error),
    };
    for warning in &loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    if let Some(warning) = loaded.snapshot.cache.dir.as_deref().and_then(machine::directory_warning)
    {
        complain(format_args!("warning: {warning}"));
    }
    say(effective::render(&loaded).trim_end());
    say("");
    for line in MemoryPlan::of(&loaded.snapshot).lines() {
        say(format_args!("# {line}"));
    }
    ExitCode::SUCCESS
}

/// Says which rule a request meets, and what holds for it that does not for others.
pub fn explain(flags: Flags, url: &str, headers: &[String], method: &str) -> ExitCode {
    let loaded = match config::load(Sources::of_process(flags)) {
        Ok(loaded) => loaded,
        Err(error) => return refused(&error),
    };
    match met(&loaded.snapshot, url, headers, method) {
        Ok(lines) => {
            lines.iter().for_each(say);
            ExitCode::SUCCESS
        }
        Err(what) => {
            complain(what);
            ExitCode::from(USAGE)
        }
    }
}

fn met(
    snapshot: &Snapshot,
    url: &str,
    headers: &[String],
    method: &str,
) -> Result<Vec<String>, String> {
    if url.starts_with('/') {
        return Err(format!("\"{url}\" is a path: rules ask for the host, too: http://host{url}"));
    }
    let read = Url::read(url, None).map_err(|why| format!("\"{url}\": {why}"))?;
    let scheme = if read.https { Scheme::Https } else { Scheme::Http };
    let (authority, target) = (read.authority.to_ascii_lowercase(), &read.target);
    let method: Method = method.parse().map_err(|_| format!("\"{method}\" is no method"))?;
    let (fields, routes) = (header_fields(headers)?, &snapshot.routes);
    let number = route::number(routes, scheme, &authority, target, &method, &fields);
    let rule = number.and_then(|number| routes.rules.get(number));
    let mut lines = vec![tell::met(rule.map(AsRef::as_ref), routes.rules.len())];
    let Some(rule) = rule else { return Ok(lines) };
    let (keyed, sent) = route::targets(rule, target);
    lines.extend(keyed.map(|keyed| format!("path and query are keyed as {keyed}")));
    lines.extend(sent.map(|sent| format!("the app is asked for {sent}")));
    let common = effective::entries(snapshot);
    for (own, common) in effective::entries(&rule.snapshot).into_iter().zip(common) {
        if own.value != common.value {
            let nothing = || "not set".to_owned();
            let (own_value, value) =
                (own.value.unwrap_or_else(nothing), common.value.unwrap_or_else(nothing));
            lines.push(format!("{} = {own_value}, for others {value}", own.key));
        }
    }
    Ok(lines)
}
