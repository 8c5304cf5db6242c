//! Tests: what the README tells people to type is a command line of this program.

use clap::Parser as _;

use super::Arguments;

/// Words of a line of a shell, cut into commands at `|`, `&&`, `;`, `$(` and `)`; redirections and comments are left out.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut all = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut skip = false;
    let mut letters = line.chars().peekable();
    let end = |word: &mut Option<String>, all: &mut Vec<Vec<String>>, skip: &mut bool| {
        if let Some(word) = word.take()
            && !std::mem::take(skip)
            && let Some(command) = all.last_mut()
        {
            command.push(word);
        }
    };
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => end(&mut word, &mut all, &mut skip),
            '#' if word.is_none() => break,
            '\'' => {
                let quoted = word.get_or_insert_default();
                quoted.extend(letters.by_ref().take_while(|letter| *letter != '\''));
            }
            '"' => {
                let quoted = word.get_or_insert_default();
                while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
                    quoted.extend(if letter == '\\' {
                        letters.next()
                    } else {
                        Some(letter)
                    });
                }
            }
            '\\' => word.get_or_insert_default().extend(letters.next()),
            '|' | '&' | ';' | ')' => {
                end(&mut word, &mut all, &mut skip);
                all.push(Vec::new());
            }
            '$' if letters.peek() == Some(&'(') => {
                letters.next();
                end(&mut word, &mut all, &mut skip);
                all.push(Vec::new());
            }
            '>' | '<' => {
                // `2>` is no word.
                word = word.filter(|word| !word.chars().all(|letter| letter.is_ascii_digit()));
                end(&mut word, &mut all, &mut skip);
                skip = true;
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    end(&mut word, &mut all, &mut skip);
    all
}

/// What is run: without what stands before the program's name.
fn of_rmail(command: &[String]) -> Option<&[String]> {
    let before =
        |word: &&String| *word == "sudo" || word.split_once('=').is_some_and(|(name, _)| !name.contains('-'));
    let start = command.iter().take_while(before).count();
    let rest = command.get(start..)?;
    (rest.first()? == "rmail").then_some(rest)
}

#[test]
fn every_command_of_the_readme_is_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(path).expect("README.md");
    let mut shell = false;
    let mut count = 0;
    let mut whole = String::new();
    let mut wrong = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            shell = !shell && language == "sh";
            continue;
        }
        if !shell {
            continue;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            whole += begun;
            continue;
        }
        whole += line;
        for command in commands(&std::mem::take(&mut whole)) {
            let Some(command) = of_rmail(&command) else {
                continue;
            };
            count += 1;
            if let Err(error) = Arguments::try_parse_from(command)
                && error.use_stderr()
            {
                wrong.push(format!("{command:?}: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 25, "only {count} commands were found");
}

#[test]
fn lines_are_cut_as_a_shell_cuts_them() {
    let cut = |line: &str| -> Vec<String> { commands(line).iter().map(|words| words.join("|")).collect() };
    assert_eq!(
        cut("rmail x 'a b' \"c\\\"d\" e\\ f  # no"),
        ["rmail|x|a b|c\"d|e f"]
    );
    assert_eq!(
        cut("rmail a > out 2> err; rmail b --n=1"),
        ["rmail|a", "rmail|b|--n=1"]
    );
    assert_eq!(
        cut("X=$(rmail c) && rmail d"),
        ["X=", "rmail|c", "", "", "rmail|d"]
    );
    let words = |line: &str| commands(line).remove(0);
    assert!(of_rmail(&words("sudo X=1 rmail serve")).is_some_and(|rest| rest.len() == 2));
    assert!(of_rmail(&words("cp target/release/rmail /x")).is_none());
}
