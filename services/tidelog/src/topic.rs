//! `tidelog topic`: topics as a whole.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;
use tidelog::{TopicDescription, TopicSpec, TopicSummary};

use crate::connection::ConnectionArgs;
use crate::exit::Code;
use crate::output::{self, Lean, Output, OutputArgs};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a topic.
    Create {
        name: String,
        /// How many partitions it has. Default: the server's.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// How many replicas each partition has. Default: three, or as many as there are stores when there
        /// are fewer.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        replication_factor: Option<u32>,
        /// A setting in Kafka's names; may be given more than once.
        #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
        config: Vec<(String, String)>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// List topics.
    List {
        /// Only those whose names begin so.
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Show a topic with all its settings.
    Describe {
        name: String,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Change settings of a topic, or give it more partitions, or another number of replicas.
    #[command(group = clap::ArgGroup::new("change").required(true))]
    Alter {
        name: String,
        /// A setting in Kafka's names, an empty value means the default; may be given more than once.
        #[arg(long, group = "change", value_name = "KEY=VALUE", value_parser = setting)]
        config: Vec<(String, String)>,
        /// How many partitions it is to have: more than it has.
        #[arg(long, group = "change", value_parser = clap::value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// How many replicas each partition is to have; they are added or removed bit by bit.
        #[arg(long, group = "change", value_parser = clap::value_parser!(u32).range(1..))]
        replication_factor: Option<u32>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Delete a topic with all its records.
    Delete {
        name: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

pub async fn run(command: Command) -> anyhow::Result<Code> {
    match command {
        Command::Create { name, partitions, replication_factor, config, output, connection } => {
            let admin = connection.connect().await?.admin();
            let mut spec = TopicSpec::new(name);
            spec = partitions.into_iter().fold(spec, TopicSpec::partitions);
            spec = replication_factor.into_iter().fold(spec, TopicSpec::replication_factor);
            spec = config.into_iter().fold(spec, |spec, (key, value)| spec.config(key, value));
            let topic = admin.create_topic(spec).await?;
            changed("created", &topic, output.output)?;
        }
        Command::List { prefix, output, connection } => {
            let admin = connection.connect().await?.admin();
            list(&admin.list_topics(&prefix).await?, output.output)?;
        }
        Command::Describe { name, output, connection } => {
            let admin = connection.connect().await?.admin();
            describe(&admin.describe_topic(&name).await?, output.output)?;
        }
        Command::Alter { name, config, partitions, replication_factor, output, connection } => {
            let admin = connection.connect().await?.admin();
            let topic = match (partitions, replication_factor) {
                (Some(partitions), _) => admin.add_partitions(&name, partitions).await?,
                (None, Some(replicas)) => admin.set_replication_factor(&name, replicas).await?,
                (None, None) => admin.alter_topic(&name, config).await?,
            };
            changed("altered", &topic, output.output)?;
        }
        Command::Delete { name, connection } => {
            let admin = connection.connect().await?.admin();
            admin.delete_topic(&name).await?;
            output::print(&format!("deleted {name}\n"))?;
        }
    }
    Ok(Code::Success)
}

#[derive(Serialize)]
struct TopicJson<'a> {
    name: &'a str,
    id: String,
    partitions: u32,
    replication_factor: u32,
    created_ms: i64,
    config: BTreeMap<&'a str, &'a str>,
}

impl<'a> TopicJson<'a> {
    /// With the settings that differ from the defaults.
    fn of(topic: &'a TopicSummary) -> Self {
        let config = topic.overrides.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Self {
            name: &topic.name,
            id: topic.id.to_string(),
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            created_ms: topic.created.0,
            config,
        }
    }

    /// With every setting.
    fn of_description(description: &'a TopicDescription) -> Self {
        let settings = description.settings.iter();
        let config = settings.map(|setting| (setting.name.as_str(), setting.value.as_str())).collect();
        Self { config, ..Self::of(&description.topic) }
    }
}

fn changed(how: &str, topic: &TopicSummary, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => output::print_json(&TopicJson::of(topic)),
        Output::Table => {
            let partitions = if topic.partitions == 1 {
                "1 partition".to_owned()
            } else {
                format!("{} partitions", topic.partitions)
            };
            let replicas = match topic.replication_factor {
                0 | 1 => String::new(),
                replicas => format!(", {replicas} replicas each"),
            };
            let overrides: String =
                overrides(topic).into_iter().flat_map(|setting| [", ".to_owned(), setting]).collect();
            output::print(&format!("{how} {} ({partitions}{replicas}{overrides})\n", topic.name))
        }
    }
}

fn overrides(topic: &TopicSummary) -> Vec<String> {
    topic.overrides.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn list(topics: &[TopicSummary], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::print_json(&topics.iter().map(TopicJson::of).collect::<Vec<_>>());
    }
    let columns = [
        ("name", Lean::Text),
        ("partitions", Lean::Number),
        ("replicas", Lean::Number),
        ("created", Lean::Text),
        ("config", Lean::Text),
    ];
    let rows = topics.iter().map(|topic| {
        let numbers = [topic.partitions, topic.replication_factor].map(|number| number.to_string());
        let [partitions, replicas] = numbers;
        let (created, config) = (output::time(topic.created.0), overrides(topic).join(" "));
        vec![topic.name.clone(), partitions, replicas, created, config]
    });
    output::print(&output::table(&columns, rows))
}

fn describe(description: &TopicDescription, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::print_json(&TopicJson::of_description(description));
    }
    let topic = &description.topic;
    let head = format!(
        "name        {}\nid          {}\npartitions  {}\nreplicas    {}\ncreated     {}\n\n",
        topic.name,
        topic.id,
        topic.partitions,
        topic.replication_factor,
        output::time(topic.created.0)
    );
    let columns = [("setting", Lean::Text), ("value", Lean::Text), ("source", Lean::Text)];
    let rows = description.settings.iter().map(|setting| {
        let source = if setting.is_default { "default" } else { "topic" };
        vec![setting.name.clone(), setting.value.clone(), source.to_owned()]
    });
    output::print(&(head + &output::table(&columns, rows)))
}
