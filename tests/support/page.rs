//! Pages of the documentation, read as tests read them: sections by their headings, with the
//! configuration and the session of a shell that each shows.

use std::path::Path;
use std::process::Command;

use super::larder::binary;
use super::{Larder, Origin, Setup};

/// The value of whatever `${NAME}` a page's configuration asks the environment for.
const SECRET: &str = "s3cret";
/// Where a page says that the proxy listens.
const DOCUMENTED: &str = "http://127.0.0.1:8080";

/// A page.
#[derive(Debug)]
pub struct Page {
    /// What stands before the first section.
    pub opening: Section,
    /// Its sections, in their order.
    pub sections: Vec<Section>,
}

/// What stands below one heading.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Its heading, without marks of code.
    pub heading: String,
    /// Its text, without what is fenced.
    pub text: String,
    /// What is fenced, each with its language.
    pub fenced: Vec<(String, String)>,
}

impl Page {
    /// The page at this path of the repository, with a section for each heading that begins with
    /// `mark`.
    #[track_caller]
    pub fn read(path: &str, mark: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(&file).expect("the page");
        let mut sections = vec![Section::default()];
        let mut fence: Option<(String, String)> = None;
        for line in text.lines() {
            let section = sections.last_mut().expect("the opening at least");
            match (&mut fence, line.strip_prefix("```")) {
                (Some(_), Some(_)) => section.fenced.extend(fence.take()),
                (Some((_, inside)), None) => *inside += &format!("{line}\n"),
                (None, Some(language)) => fence = Some((language.to_owned(), String::new())),
                (None, None) => match line.strip_prefix(mark) {
                    Some(heading) => sections
                        .push(Section { heading: heading.replace('`', ""), ..Section::default() }),
                    None => section.text += &format!("{line}\n"),
                },
            }
        }
        assert!(fence.is_none(), "{path}: a fence is not closed");
        let opening = sections.remove(0);
        Self { opening, sections }
    }

    /// Its headings.
    pub fn headings(&self) -> Vec<&str> {
        self.sections.iter().map(|section| &*section.heading).collect()
    }

    /// The section with this heading.
    #[track_caller]
    pub fn section(&self, heading: &str) -> &Section {
        let found = self.sections.iter().find(|section| section.heading == heading);
        found.unwrap_or_else(|| panic!("no section \"{heading}\": {:?}", self.headings()))
    }
}

impl Section {
    /// What is fenced as `language`; fails unless it is one.
    #[track_caller]
    pub fn only(&self, language: &str) -> &str {
        let mut fenced = self.fenced.iter().filter(|(of, _)| of == language);
        let first = fenced.next().unwrap_or_else(|| panic!("{}: no {language}", self.heading));
        assert!(fenced.next().is_none(), "{}: several blocks of {language}", self.heading);
        &first.1
    }

    /// A Larder with its configuration, in front of these: the first is what the page calls
    /// `http://127.0.0.1:3000`, the next one `:3001`.
    #[track_caller]
    pub fn before(&self, origins: &[&Origin]) -> Larder {
        let mut config = self.only("toml").to_owned();
        for (n, origin) in origins.iter().enumerate() {
            let documented = format!("\"http://127.0.0.1:{}\"", 3000 + n);
            assert!(config.contains(&documented), "{}: {documented}", self.heading);
            config = config.replace(&documented, &format!("\"{}\"", origin.url()));
        }
        assert!(!config.contains("127.0.0.1:300"), "{}: one more origin", self.heading);
        let setup = Setup::new("").config(&config).without_disk();
        secrets(&config).fold(setup, |setup, name| setup.env(name, SECRET)).start()
    }

    /// Types its session into a shell, `opening` before it, and compares what is printed. Where
    /// nothing is documented it is only mistakes that matter.
    #[track_caller]
    pub fn type_session(&self, opening: &str, larder: &Larder) {
        const END: &str = "----";
        let commands = self.commands();
        assert!(!commands.is_empty(), "{}: no session", self.heading);
        let site = format!("http://{}", larder.proxy);
        let mut script = opening.to_owned();
        for (command, printed) in &commands {
            let quiet = if printed.is_empty() { " >/dev/null" } else { "" };
            script += &format!("{{ {command}{quiet}; }} 2>&1\necho {END}\n");
        }
        let bin = binary().parent().expect("a directory").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script.replace(DOCUMENTED, &site));
        shell.env("PATH", format!("{bin}:{path}"));
        shell.env("LARDER_ADMIN__LISTEN", larder.admin.to_string());
        let config = self.fenced.iter().filter(|(language, _)| language == "toml");
        let secrets = config.flat_map(|(_, config)| secrets(config));
        shell.envs(secrets.map(|name| (name, SECRET)));
        let output = shell.output().expect("a shell");
        let printed = String::from_utf8_lossy(&output.stdout);
        let printed = printed.replace(&site, DOCUMENTED);
        for ((command, want), got) in commands.iter().zip(printed.split(&format!("{END}\n"))) {
            let got: Vec<&str> = got.lines().collect();
            let same = want.len() == got.len() && want.iter().zip(&got).all(|(w, g)| alike(w, g));
            let heading = &self.heading;
            assert!(same, "{heading}: {command}\n  documented: {want:?}\n  printed: {got:?}");
        }
    }

    /// Its commands, each with what it prints.
    fn commands(&self) -> Vec<(&str, Vec<&str>)> {
        let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in self.only("console").lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command, Vec::new())),
                (None, Some((_, printed))) => printed.push(line),
                (None, None) => panic!("{}: no command before {line}", self.heading),
            }
        }
        commands
    }
}

/// The same but for numbers (the seconds of a lifetime) that are somewhat less.
fn alike(want: &str, got: &str) -> bool {
    let words = |line: &str| line.split(' ').map(ToOwned::to_owned).collect::<Vec<String>>();
    let (want, got) = (words(want), words(got));
    let same = |(want, got): (&String, &String)| match (number(want), number(got)) {
        (Some(want), Some(got)) => (want - 20..=want).contains(&got),
        _ => want == got,
    };
    want.len() == got.len() && want.iter().zip(&got).all(same)
}

fn number(word: &str) -> Option<i64> {
    let word = word.strip_prefix("ttl=").unwrap_or(word);
    word.strip_suffix(';').unwrap_or(word).parse().ok()
}

/// The names in `${NAME}`.
fn secrets(config: &str) -> impl Iterator<Item = &str> {
    config.split("${").skip(1).filter_map(|behind| behind.split('}').next())
}
