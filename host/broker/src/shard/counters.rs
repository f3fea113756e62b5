//! What a shard counts. Plain numbers of one thread; summed over shards by whoever asks.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident $kind:ident $label:literal,)*) => {
        /// Counters and gauges of one shard.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            /// Adds another shard's numbers.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Every number as `(name, is a gauge, value)`, for metrics.
            #[must_use]
            pub fn entries(&self) -> Vec<(&'static str, bool, u64)> {
                vec![$(($label, stringify!($kind) == "gauge", self.$name),)*]
            }
        }
    };
}

/// A length as a counter takes it.
pub(super) fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

counters! {
    /// Connections now accepted.
    connections gauge "connections",
    /// Sessions, connected or not.
    sessions gauge "sessions",
    /// Subscriptions of all sessions.
    subscriptions gauge "subscriptions",
    /// Subscriptions of sessions that are over, still to be taken out.
    subscriptions_left gauge "subscriptions_left",
    /// Connections accepted so far.
    accepted counter "connections_accepted_total",
    /// CONNECTs refused.
    refused counter "connections_refused_total",
    /// Clients sent to another server: refused, or disconnected.
    redirected counter "clients_redirected_total",
    /// Publishes taken from clients.
    received counter "messages_received_total",
    /// Bursts: publishes of one client to one topic that were handed on as one.
    bursts counter "bursts_total",
    /// Publishes in them.
    burst_messages counter "burst_messages_total",
    /// Messages written to clients.
    sent counter "messages_sent_total",
    /// Bytes taken from connections, behind CONNECT.
    bytes_received counter "bytes_received_total",
    /// Bytes written to connections.
    bytes_sent counter "bytes_sent_total",
    /// Bytes of payload in publishes taken from clients.
    payload_received counter "payload_bytes_received_total",
    /// Bytes of payload in messages written to clients.
    payload_sent counter "payload_bytes_sent_total",
    /// Sessions that ended because their client stayed away.
    sessions_expired counter "sessions_expired_total",
    /// Messages mailed to other shards.
    mailed counter "messages_mailed_total",
    /// Publishes and subscriptions denied.
    denied counter "denied_total",
    /// Dropped: the receiver's outbox was full.
    dropped_full counter "messages_dropped_queue_full_total",
    /// Dropped: expired before delivery.
    dropped_expired counter "messages_dropped_expired_total",
    /// Dropped: waited longer for the receiver than it may.
    dropped_too_old counter "messages_dropped_too_old_total",
    /// Dropped: larger than the receiver takes.
    dropped_too_large counter "messages_dropped_too_large_total",
    /// Dropped: came through too many chains.
    dropped_loop counter "messages_dropped_loop_total",
    /// Dropped: the store no longer had the message.
    dropped_lost counter "messages_dropped_lost_total",
    /// Publishes refused because the store could not keep them.
    refused_unstored counter "messages_refused_unstored_total",
    /// QoS 0 for a client that is away; a message of a shared group none of whose members can take it.
    dropped_offline counter "messages_dropped_offline_total",
    /// Retained messages refused because the store is full.
    retained_refused counter "retained_refused_total",
    /// Subscriptions refused because the session has as many as it may.
    subscriptions_refused counter "subscriptions_refused_total",
    /// SUBSCRIBEs and UNSUBSCRIBEs that waited for another turn of their shard.
    changes_waited counter "subscribes_waited_total",
    /// Subscriptions by configuration that could not be made: a name, or a bound.
    auto_subscriptions_refused counter "auto_subscriptions_refused_total",
    /// Exclusive subscriptions refused because another client has the filter, or there are too many.
    exclusive_refused counter "exclusive_refused_total",
    /// Publishers whose member of a sticky shared group was forgotten because there were too many.
    sticky_forgotten counter "shared_sticky_forgotten_total",
    /// Topics of which is remembered who wants them, each on every shard that does.
    topics_known gauge "topics_known",
    /// Topics that were forgotten because others came and there were as many as may be.
    topics_forgotten counter "topics_forgotten_total",
    /// Messages of shared groups passed on because the chosen member had left or filled up meanwhile.
    passed_on counter "shared_passed_on_total",
    /// QoS 1 and 2 publishes refused because the payload is not UTF-8, as it says.
    format_refused counter "payload_format_refused_total",
    /// Publishes a chain refused, consumed or withheld.
    chained_away counter "messages_ended_by_chains_total",
    /// Events that chains began with.
    events_raised counter "chain_events_total",
    /// Events given up because too many waited for their chains.
    events_given_up counter "chain_events_given_up_total",
    /// Times a message was parked because a step of a chain waits.
    parked counter "messages_parked_total",
    /// Parked messages given up because their publisher had gone: it sends them again.
    parked_dropped counter "messages_parked_dropped_total",
    /// Publishes taken to be published later.
    delayed counter "delayed_taken_total",
    /// Delayed messages that fell due and were published.
    delayed_published counter "delayed_published_total",
    /// Delayed publishes refused because of a bound.
    delayed_refused counter "delayed_refused_total",
    /// Publishes and wills whose topic cannot be used.
    topics_invalid counter "topics_invalid_total",
    /// Wills published.
    wills counter "wills_published_total",
    /// Connections ended for breaking the protocol.
    protocol_errors counter "protocol_errors_total",
    /// Connections that went beyond the receive maximum and were let.
    receive_maximum_exceeded counter "receive_maximum_exceeded_total",
    /// Connections ended by keep-alive.
    keep_alive_timeouts counter "keep_alive_timeouts_total",
    /// Connections taken over by a newer one of the same client.
    takeovers counter "takeovers_total",
    /// Times a publisher was paused because another shard could not keep up.
    paused counter "publishers_paused_total",
}
