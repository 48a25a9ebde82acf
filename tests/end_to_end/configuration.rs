//! A service that can't start says which variable is at fault, and never what is in it.

use std::{path::Path, process::Stdio};

use tests::servers::programs;

const CANARY: &str = "canary-of-the-configuration";

/// What a program that does not start says.
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
async fn what_is_missing_or_malformed_is_named_and_not_shown() -> anyhow::Result<()> {
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
        assert_eq!(String::from_utf8(output.stdout)?, gateway::schema::sdl());
    }
    Ok(())
}
