//! The command line as it is typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cli::warm::Warm;
use crate::config::Flags;

const EXAMPLES: &str = "\
Examples:
  larder --upstream http://127.0.0.1:3000     cache the app on port 3000, listen on 0.0.0.0:8080
  larder --config config.toml                 the same with a configuration file
  larder check --config config.toml           is it right? what holds, and why?
  larder demo                                 see it work, with an app of its own
  larder cache purge http://example.org/news  forget one page of the running Larder

Every setting can be given in the environment as well: LARDER_UPSTREAM, LARDER_CACHE__MEMORY …
Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration.";

/// A caching reverse proxy that runs beside any HTTP app.
#[derive(Debug, Parser)]
#[command(name = "larder", bin_name = "larder", version, about, after_help = EXAMPLES, propagate_version = true)]
pub struct Cli {
    /// Before or behind the command.
    #[command(flatten)]
    pub common: Common,
    /// `run` when absent.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file (or LARDER_CONFIG); without one, defaults and flags hold
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the proxy listens [default: 0.0.0.0:8080]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub listen: Option<String>,
    /// The app: http://host[:port] or unix:/path
    #[arg(long, global = true, value_name = "URL")]
    pub upstream: Option<String>,
    /// The admin port: where to listen, or where the running Larder does [default: 127.0.0.1:9180]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub admin: Option<String>,
}

impl From<Common> for Flags {
    fn from(common: Common) -> Self {
        let Common { config, listen, upstream, admin } = common;
        Self { config, listen, upstream, admin }
    }
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve (the default)
    #[command(
        after_help = "Example:\n  larder run --listen 0.0.0.0:80 --upstream unix:/run/app.sock"
    )]
    Run,
    /// Show what Larder does, with a slow sample app of its own
    #[command(
        after_help = "Examples:\n  larder demo          serves until Ctrl-C\n  larder demo --once   ends after the table"
    )]
    Demo {
        /// End after the table
        #[arg(long)]
        once: bool,
    },
    /// Check the configuration; print what holds and where each value is from
    #[command(
        after_help = "Examples:\n  larder check --config config.toml\n  larder check --explain http://example.org/shop -H 'Cookie: a=1'    which [[route]] is met?\n\nMistakes go to standard error, all of them in one run; the exit code is 0 or 2."
    )]
    Check {
        /// Only say which rule a request for this URL meets, and what holds for it
        #[arg(long, value_name = "URL")]
        explain: Option<String>,
        /// A header field of that request, as often as wanted
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "explain")]
        headers: Vec<String>,
        /// Its method
        #[arg(short = 'X', long, default_value = "GET", requires = "explain")]
        method: String,
    },
    /// Ask the running Larder whether it is ready (exit code 0 or 1)
    Health,
    /// Look at the running Larder's cache, or empty it
    Cache {
        /// What to do with it
        #[command(subcommand)]
        action: CacheAction,
    },
}

/// `larder cache …`.
#[derive(Debug, Clone, Subcommand)]
pub enum CacheAction {
    /// Print the cache's figures as JSON
    Stats,
    /// Forget a URL, or all that has a prefix, a tag, a host in common
    #[command(after_help = PURGES)]
    Purge(Purge),
    /// List the purges that are held, the newest first
    Purges {
        /// How many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// List what is stored (in memory), by its key
    #[command(
        after_help = "Examples:\n  larder cache list --host example.org --limit 20\n  larder cache list --tag article-7\n  larder cache list --after CURSOR      the next page; the cursor is `next` of the last one"
    )]
    List {
        /// Only of this host
        #[arg(long, value_name = "HOST[:PORT]")]
        host: Option<String>,
        /// Only URLs that begin so
        #[arg(long, value_name = "URL")]
        prefix: Option<String>,
        /// Only what has this tag
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
        /// How many
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
        /// Only what comes behind this
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Show what is known of all that is stored for a URL
    #[command(after_help = "Example:\n  larder cache show http://example.org/news?page=2")]
    Show {
        /// The whole URL, as clients ask for it
        url: String,
    },
    /// Say why a request would be answered as it is
    #[command(
        after_help = "Examples:\n  larder cache explain http://example.org/news\n  larder cache explain http://example.org/ -H 'Cookie: a=1' -H 'Accept-Language: de'\n  larder cache explain --fetch http://example.org/news    ask the app, too; nothing is stored\n\nThe first line is the reason. Nothing that is stored is used, forgotten or renewed by asking."
    )]
    Explain {
        /// The whole URL, as clients ask for it
        url: String,
        /// A header field of the request, as often as wanted
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        /// Its method
        #[arg(short = 'X', long, default_value = "GET")]
        method: String,
        /// Ask the app what it would answer now, and judge that; nothing is stored
        #[arg(long)]
        fetch: bool,
        /// All of it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch many URLs through the running Larder, so that clients find them stored
    #[command(after_help = WARM)]
    Warm(Warm),
    /// Forget everything
    Clear,
}

const WARM: &str = "\
Examples:
  larder cache warm http://example.org/sitemap.xml       all pages of a sitemap or of an index of them
  larder cache warm urls.txt --rate 10 --concurrency 2   a URL a line, gently
  larder cache warm access.log --base http://example.org what clients asked for most, first
  curl -s https://example.org/sitemap.xml | larder cache warm -

The app is asked for what is not stored and fresh; what is, costs it nothing. Larder is looked for at
--listen, LARDER_LISTEN or 127.0.0.1:8080. URLs with https are sent as a proxy in front that ends TLS
would send them (X-Forwarded-Proto: https). Exit code 1, and a list, if something failed.";

const PURGES: &str = "\
Examples:
  larder cache purge http://example.org/news?page=2   one URL, with all its variants
  larder cache purge /news                            that path on every host
  larder cache purge --prefix http://example.org/news/
  larder cache purge --glob '/img/**/*.png'           * and ? stop at a slash, ** does not
  larder cache purge --tag article-7                  of Surrogate-Key or Cache-Tag
  larder cache purge --host example.org               on every port; example.org:8080: on this one
  larder cache purge --soft --all                     keep it, but ask the app before it is used
  larder cache purge --dry-run --tag article-7        how many responses would that be?

A purge is in force, and on disk, when the command returns. URLs, prefixes and globs are about the
whole URL with its query; those that begin with / are about path and query, on every host.";

/// `larder cache purge …`.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(false))]
pub struct Purge {
    /// The whole URL as clients ask for it, or a path (begins with /) for every host
    #[arg(group = "what")]
    pub url: Option<String>,
    /// All URLs that begin so
    #[arg(long, group = "what", value_name = "URL")]
    pub prefix: Option<String>,
    /// All URLs that look so: *, **, ?, [a-z], {a,b}
    #[arg(long, group = "what", value_name = "GLOB")]
    pub glob: Option<String>,
    /// All that the app has given this tag
    #[arg(long, group = "what", value_name = "TAG")]
    pub tag: Option<String>,
    /// All of this host
    #[arg(long, group = "what", value_name = "HOST[:PORT]")]
    pub host: Option<String>,
    /// Everything
    #[arg(long, group = "what")]
    pub all: bool,
    /// Make it stale instead of removing it: the app is asked whether it has changed
    #[arg(long)]
    pub soft: bool,
    /// Only count what would be hit
    #[arg(long)]
    pub dry_run: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        for line in [
            ["larder", "--upstream", "http://a", "run"],
            ["larder", "run", "--upstream", "http://a"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!(cli.common.upstream.as_deref(), Some("http://a"), "{line:?}");
            assert!(matches!(cli.command, Some(Command::Run)));
        }
        let cli = Cli::try_parse_from([
            "larder",
            "cache",
            "purge",
            "/a",
            "--soft",
            "--admin",
            "1.2.3.4:5",
        ]);
        let cli = cli.unwrap();
        assert_eq!(cli.common.admin.as_deref(), Some("1.2.3.4:5"));
        assert!(Cli::try_parse_from(["larder"]).unwrap().command.is_none());
    }

    #[test]
    fn wrong_usage_exits_with_two() {
        for line in [
            &["larder", "--lisen", "x"][..],
            &["larder", "cache"],
            &["larder", "cache", "purge"],
            &["larder", "cache", "purge", "/a", "--tag", "b"],
        ] {
            assert_eq!(Cli::try_parse_from(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }
}
