//! What a server says when it is ready: where things are, and commands to paste.

use super::server::{Reach, Server};

pub fn text(server: &Server) -> String {
    let Server { data_dir, bucket, quic, http, reach, .. } = server;
    let (context, export) = match reach {
        Reach::Context(path) => (format!("  context   {}\n", path.display()), String::new()),
        Reach::Url(url) => (String::new(), format!("  export TIDELOG_BOOTSTRAP='{url}'\n")),
    };
    format!(
        "\
Tidelog {version} is ready.

  native    {quic}  (QUIC, and TLS over TCP)
  http      http://{http}  (/healthz /readyz /metrics)
  data      {data}
  bucket    {bucket}
{context}
Try it, in another terminal:

{export}  tidelog topic create hello
  echo 'hello, log' | tidelog produce hello
  tidelog consume hello --exit-at-end
  tidelog storage offload hello
  tidelog storage evict hello
  tidelog storage describe hello
  tidelog bucket ls '{bucket}'

Ctrl-C stops the server; what was acknowledged is still there at the next start.
",
        version = env!("CARGO_PKG_VERSION"),
        data = data_dir.display(),
    )
}
