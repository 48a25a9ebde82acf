//! Validates `deploy/` with external tools.

use dev::paths;
use tests::external_clients::{output, python};
use tokio::process::Command;

#[tokio::test]
#[ignore = "needs kubectl and a package of PyPI: cargo dev test --all"]
async fn kubernetes_accepts_the_manifests() -> anyhow::Result<()> {
    let mut kubectl = Command::new("kubectl");
    kubectl
        .args(["kustomize", "deploy/kubernetes/example"])
        .current_dir(paths::repository());
    let manifests = output(kubectl).await?;
    let file = std::env::temp_dir().join(format!("manifests-{}.yaml", std::process::id()));
    std::fs::write(&file, manifests)?;

    let program = paths::repository().join("tests/clients/manifests.py");
    let mut python = python(&program, &["kubernetes-validate==1.37.0"]).await?;
    python.arg(&file);
    let printed = output(python).await?;
    std::fs::remove_file(&file)?;

    assert!(printed.contains("the manifests are valid"), "{printed}");
    Ok(())
}
