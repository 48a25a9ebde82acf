//! A service that can't start names the invalid variable, and never prints its value.

use std::{path::Path, process::Stdio};

use tests::servers::programs;

const CANARY: &str = "canary-of-the-configuration";
/// Values that the gateway's configuration check refuses.
const INVALID: [(&str, &str); 7] = [
    ("SAVES_BURST", "4"),
    ("IDEMPOTENCY_SECRET", "too short"),
    ("MAX_CONNECTIONS", "1000"),
    ("HEADER_TIMEOUT", "soon"),
    ("JWKS_URL", "http://127.0.0.1:1/jwks"),
    ("ALLOWED_ORIGINS", "*"),
    ("MAX_SAVES", "many"),
];

/// The error output of a program that does not start.
async fn refusal(program: &str, variables: &[(&'static str, String)]) -> anyhow::Result<String> {
    let program = programs()?.join(Path::new(program));
    let child = dev::services::command(&program, variables)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let deadline = std::time::Duration::from_secs(10);
    let output = tokio::time::timeout(deadline, child.wait_with_output()).await??;
    anyhow::ensure!(!output.status.success(), "the program ended well");
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn missing_and_malformed_settings_are_named_without_their_value() -> anyhow::Result<()> {
    let complete = [
        ("DATABASE_URL", "postgres://u:p@127.0.0.1:1/d".to_owned()),
        ("AMQP_URL", "amqp://u:p@127.0.0.1:1/%2f".to_owned()),
        (
            "JWT_SECRET",
            "a secret of at least thirty-two bytes".to_owned(),
        ),
        ("LISTEN", "127.0.0.1:0".to_owned()),
    ];
    for (program, variable) in [
        ("gateway", "DATABASE_URL"),
        ("gateway", "AMQP_URL"),
        ("gateway", "JWT_SECRET"),
        ("worker", "DATABASE_URL"),
        ("worker", "AMQP_URL"),
    ] {
        let others = complete
            .iter()
            .filter(|(name, _)| *name != variable)
            .cloned();
        let without: Vec<_> = others.clone().collect();
        let malformed: Vec<_> = others.chain([(variable, CANARY.to_owned())]).collect();

        for variables in [without, malformed] {
            let said = refusal(program, &variables).await?;
            assert!(
                said.contains(variable),
                "{program} without {variable}: {said}"
            );
            assert!(!said.contains(CANARY), "{said}");
        }
    }
    Ok(())
}

/// The output of a program's configuration check, and whether it succeeded.
async fn checked(
    program: &str,
    variables: &[(&'static str, String)],
) -> anyhow::Result<(bool, String)> {
    let program = programs()?.join(Path::new(program));
    let output = dev::services::command(&program, variables)
        .arg("--check-config")
        .output()
        .await?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Ok((output.status.success(), said))
}

/// Writes a file for a variable that ends in _FILE, and returns its path.
fn file(name: &str, content: &str) -> anyhow::Result<String> {
    let folder = dev::paths::repository().join("target/configuration");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    std::fs::write(&path, format!("{content}\n"))?;
    Ok(path.display().to_string())
}

#[tokio::test]
async fn a_configuration_can_be_checked_and_secrets_come_from_files() -> anyhow::Result<()> {
    let amqp = file("amqp", "amqp://u:p@127.0.0.1:1/%2f")?;
    let database = file("database", "postgres://u:p@127.0.0.1:1/d")?;
    let secret = file("secret", "a secret of at least thirty-two bytes")?;
    let complete = vec![
        ("AMQP_URL_FILE", amqp),
        ("DATABASE_URL_FILE", database),
        ("JWT_SECRET_FILE", secret),
    ];
    let with = |name: &'static str, value: &str| {
        let mut changed = complete.clone();
        changed.retain(|(known, _)| *known != name);
        changed.push((name, value.to_owned()));
        changed
    };

    for program in ["gateway", "worker"] {
        let (good, said) = checked(program, &complete).await?;
        assert!(good && said.contains("complete"), "{said}");
        let (good, said) = checked(program, &with("AMQP_URL", CANARY)).await?;
        assert!(
            !good && said.contains("AMQP_URL_FILE") && !said.contains(CANARY),
            "{said}"
        );
        let (good, said) = checked(program, &with("AMQP_URL_FILE", "/nowhere")).await?;
        assert!(!good && said.contains("AMQP_URL_FILE"), "{said}");
        let (good, said) = checked(program, &[]).await?;
        assert!(
            !good && said.contains("AMQP_URL") && said.contains("DATABASE_URL"),
            "{said}"
        );
    }
    // Without a secret to derive it from, the one for command ids is missed.
    let mut by_jwks = complete.clone();
    by_jwks.retain(|(name, _)| *name != "JWT_SECRET_FILE");
    by_jwks.push(("JWKS_URL", "http://127.0.0.1:1/jwks".to_owned()));
    let (good, said) = checked("gateway", &by_jwks).await?;
    assert!(!good && said.contains("IDEMPOTENCY_SECRET"), "{said}");
    let own = file("idempotency", "another secret of thirty-two bytes")?;
    by_jwks.push(("IDEMPOTENCY_SECRET_FILE", own));
    let (good, said) = checked("gateway", &by_jwks).await?;
    assert!(good, "{said}");
    for (name, value) in INVALID {
        let (good, said) = checked("gateway", &with(name, value)).await?;
        let flag = name.to_lowercase().replace('_', "-");
        assert!(
            !good && (said.contains(name) || said.contains(&flag)),
            "{name}: {said}"
        );
    }
    let mut open = with("GATEWAY_DEV", "true");
    open.push(("LISTEN", "0.0.0.0:8080".to_owned()));
    let (good, said) = checked("gateway", &open).await?;
    assert!(!good && said.contains("LISTEN"), "{said}");
    Ok(())
}

#[tokio::test]
async fn help_explains_every_setting_and_shows_no_secret() -> anyhow::Result<()> {
    for program in ["gateway", "worker"] {
        let path = programs()?.join(program);
        let variables = [
            "AMQP_URL",
            "DATABASE_URL",
            "JWT_SECRET",
            "IDEMPOTENCY_SECRET",
        ]
        .map(|it| (it, CANARY.to_owned()));
        let output = dev::services::command(&path, &variables)
            .arg("--help")
            .output()
            .await?;
        let help = String::from_utf8(output.stdout)?;

        assert!(!help.contains(CANARY), "{help}");
        for name in [
            "AMQP_URL",
            "DATABASE_URL",
            "NAME_FILE",
            "LISTEN",
            "--check-config",
        ] {
            assert!(help.contains(name), "{program}: {name}");
        }
        // Not as an argument, which everyone on the machine can read.
        assert!(
            !help.contains("--amqp-url")
                && !help.contains("--jwt-secret")
                && !help.contains("--idempotency"),
            "{help}"
        );
    }
    Ok(())
}

/// The README's table of errors and the code know the same codes.
#[test]
fn every_error_code_is_explained() {
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("## Errors").unwrap_or_default();
    let (table, _) = table.split_once("\n## ").unwrap_or_default();
    let mut explained: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut known: Vec<&str> = gateway::error_code::Code::ALL
        .iter()
        .map(|code| code.as_str())
        .collect();

    explained.sort_unstable();
    known.sort_unstable();
    assert_eq!(explained, known);
}

#[tokio::test]
async fn the_other_commands_need_no_configuration() -> anyhow::Result<()> {
    let gateway = programs()?.join("gateway");

    for variables in [
        vec![],
        vec![("AMQP_URL", "amqp://u:p@127.0.0.1:1".to_owned())],
    ] {
        let output = dev::services::command(&gateway, &variables)
            .arg("schema")
            .output()
            .await?;
        assert!(output.status.success());
        assert_eq!(
            String::from_utf8(output.stdout)?,
            gateway::graphql::schema::sdl()
        );
    }
    Ok(())
}
