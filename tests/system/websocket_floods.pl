#!/usr/bin/perl
#
# websocket_floods.pl
#	  Too much, too slow, too many; and the database away; run by websocket.sh.
#
# What is flooded has to be bounded, and others have to be served meanwhile:
# SERVED is the bound, and what was measured is printed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time sleep);
use AgentClient;
use Hostile;

use constant { HELLO => 1, INVENTORY => 2, BEAT => 3, REPORT => 4, LOG => 5, AGENT_ERROR => 8, DESIRED => 131 };
# Seconds that another node's beat may take during a flood, on a busy machine.
use constant SERVED => 5;
use constant BEAT_EVERY => 0.02;
# And the bridge's memory.
use constant MEMORY_KB => 256 * 1024;

sub message { return AgentClient::message(@_); }

# How the good client is served while CODE runs again and again, until it
# returns something true: the worst beat's seconds, and what CODE returned.
sub while_flooding
{
	my ($code, $patience) = @_;
	my $until = time + ($patience // AgentClient::PATIENCE);
	my ($worst, $done, $beaten) = (0, undef, 0);
	do {
		$done = $code->();
		# Not so often that it is the good client that floods.
		if (defined $done || time - $beaten >= BEAT_EVERY) {
			$beaten = time;
			my $took = $good->beat;
			$took = 999 if $took !~ /^[0-9.]+$/;
			$worst = $took if $took > $worst;
		}
	} until (defined $done || time > $until);
	printf "# others waited at most %.3f s\n", $worst;
	return ($worst, $done // 'nothing');
}

sub memory_kb
{
	open(my $status, '<', "/proc/$ENV{BRIDGE_PID}/status") or return 0;
	while (<$status>) { return $1 if /^VmRSS:\s+(\d+) kB/ }
	return 0;
}

sub served { my ($worst) = @_; return $worst < SERVED ? undef : "others waited $worst s"; }

# The same frame over and over, as long as the other side takes it; how it ends.
sub flood_with
{
	my ($client, $bytes) = @_;
	my $ended;
	return sub {
		# Some at a time, so that the good client gets its turn.
		for (1 .. 20) {
			last unless IO::Select->new($client->{socket})->can_write(0.1);
			$client->send_raw($bytes) or last;
		}
		my $end = $client->closing(0.01);
		return $end eq 'open' ? undef : $end;
	};
}

# ---- begun first, because they take their time ------------------------------

# Sockets that say nothing, a request that comes by the byte, upgrades without hello.
my @silent = map { AgentClient->connect } 1 .. 300;
my @slow = map { AgentClient->connect } 1 .. 20;
my $request = AgentClient::upgrade_text(token => evil_token);
my $sent_of_request = 0;
my @mute;
for (1 .. 10) {
	push @mute, (AgentClient->upgraded(token => evil_token))[0] for 1 .. 5;
	push @Hostile::evil, shift @Hostile::evil;
}
my $began = time;

sub one_more_byte
{
	return if $sent_of_request >= length($request) - 4 || time - $began < $sent_of_request * 0.2;
	$_->send_raw(substr($request, $sent_of_request, 1)) for @slow;
	$sent_of_request++;
}

# ---- floods ----------------------------------------------------------------

for my $flood (
	[ 'beats', sub { message(BEAT, sequence => $_[0], body => '{"load":0.5}') } ],
	[ 'reports', sub { message(REPORT, incarnation => 1, task => $_[0], attempt => 1, state => 4, sequence => 1) } ],
	[ 'complaints', sub { message(AGENT_ERROR, body => CANARY) } ],
	[ 'unknown messages', sub { message(100, body => 'x') } ])
{
	my ($name, $one) = @$flood;
	case "10000 $name per second are throttled", sub {
		my $evil = evil();
		my $frame = AgentClient::ws_frame(2, $evil->protocol_frame([map { $one->($_) } 1 .. 500]));
		my ($worst, $end) = while_flooding(flood_with($evil, $frame));
		one_more_byte();
		return wanted($end, 4013, 'eof') // served($worst);
	};
}
case 'logs beyond all credit are throttled', sub {
	my $evil = evil();
	my $frame = AgentClient::ws_frame(2, $evil->protocol_frame([map { message(LOG, incarnation => 1, task => 1, attempt => 1, state => 1, value => $_, body => 'x' x 60_000) } 1 .. 16]));
	my $once = flood_with($evil, $frame);
	my ($worst, $end) = while_flooding($once, 5);
	# Stale is all that they get; ended or not, nothing piles up.
	return served($worst) // (memory_kb() < MEMORY_KB ? undef : 'the bridge has grown to ' . memory_kb() . ' kB');
};
case 'huge inventories are throttled', sub {
	my $evil = evil();
	my $hex = sprintf('%016x', sql('SELECT value FROM unidesk_data.incarnation'));
	# Each is unknown here, and so answered with an order to remove it.
	my $attempts = join(',', map { qq({"incarnation":"$hex","task":$_,"attempt":1}) } 1_000_001 .. 1_004_000);
	my $frame = AgentClient::ws_frame(2, $evil->protocol_frame([message(INVENTORY, sequence => 1, body => qq({"attempts":[$attempts]}))]));
	my ($worst, $end) = while_flooding(flood_with($evil, $frame));
	one_more_byte();
	return wanted($end, 4013, 'eof') // served($worst);
};
case 'a flood of pings delays nobody', sub {
	my $evil = evil();
	my $pings = AgentClient::ws_frame(AgentClient::PING, 'x' x 125) x 2000;
	my ($worst, $end) = while_flooding(flood_with($evil, $pings), 3);
	return served($worst) // (memory_kb() < MEMORY_KB ? undef : 'the bridge has grown to ' . memory_kb() . ' kB');
};
case 'a node that connects all the time is held off', sub {
	my ($status, $times) = ('101', 0);
	my ($worst, $end) = while_flooding(sub {
		for (1 .. 10) {
			my ($client, $status) = AgentClient->upgraded(token => evil_token);
			return $status if $status ne '101';
			$client->send_messages(message(HELLO, body => AgentClient::hello_body(machine => 'evil')));
			$client->hang_up;
			$times++;
		}
		return undef;
	});
	return wanted($end, 503) // ($times <= 100 ? undef : "$times connections") // served($worst);
};
case 'a node has few connections at a time', sub {
	my @clients;
	my $status = '101';
	while ($status eq '101' && @clients < 50) {
		(my $client, $status) = AgentClient->upgraded(token => evil_token);
		push @clients, $client if $status eq '101';
	}
	return wanted($status, 503) // (@clients <= 8 ? undef : scalar(@clients) . ' connections');
};
case 'notifications by anybody do not reload the tokens each time', sub {
	my $calls = "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE schemaname = 'unidesk_bridge' AND funcname = 'tokens'";
	sql('SELECT pg_stat_clear_snapshot()');
	my $before = sql($calls);
	my $from = time;
	my ($worst) = while_flooding(sub { sql('NOTIFY unidesk_tokens'); return time - $from > 3 ? 'done' : undef });
	# The counters come a little late.
	sleep(1.5);
	sql('SELECT pg_stat_clear_snapshot()');
	my $loads = sql($calls) - $before;
	return served($worst) // ($loads <= 8 ? undef : "$loads loads in 3 s") // ($loads >= 1 ? undef : 'no load at all');
};

# ---- an agent that stops reading --------------------------------------------

case 'an agent that does not read is bounded and closed', sub {
	my $incarnation = sql('SELECT value FROM unidesk_data.incarnation');
	my $quiet = sql("SELECT unidesk.create_node('quiet')");
	sql("SELECT unidesk.create_project('floods')");
	sql("UPDATE unidesk_data.node SET declared_labels = '{\"node\": \"quiet\"}' WHERE name = 'quiet'");
	my $token_known = '503';
	for (my $i = 0; $token_known eq '503' && $i < 50; $i++) {
		(my $client, $token_known) = AgentClient->upgraded(token => $quiet);
		sleep(0.1) if $token_known eq '503';
	}
	# A small window, and 20 MB of orders.
	my $client = AgentClient->connect;
	setsockopt($client->{socket}, Socket::SOL_SOCKET(), Socket::SO_RCVBUF(), pack('i', 4096));
	$client->send_raw(AgentClient::upgrade_text(token => $quiet));
	return 'no upgrade' if $client->read_status ne '101';
	$client->send_messages(message(HELLO, body => AgentClient::hello_body(machine => 'quiet')));
	return 'no welcome' if exists $client->wait_for(129)->{end};
	sql(q{SELECT count(unidesk.submit_task('floods', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
		'Dockerfile', ARRAY['true', repeat('x', 100000) || i], labels => '{"node": "quiet"}', cpus => 0.01, memory => 16777216)) FROM generate_series(1, 200) AS i});
	my ($worst) = while_flooding(sub {
		one_more_byte();
		sleep(0.1);
		return sql("SELECT session IS NULL FROM unidesk_data.node WHERE name = 'quiet'") eq 't' ? 'closed' : undef;
	}, 40);
	my $memory = memory_kb();
	my $closed = sql("SELECT session IS NULL FROM unidesk_data.node WHERE name = 'quiet'");
	print "# the bridge has $memory kB\n";
	return ($closed eq 't' ? undef : 'its session was not ended') // served($worst)
		// ($memory < MEMORY_KB ? undef : "the bridge has grown to $memory kB");
}, changes => 1;

# ---- deadlines ---------------------------------------------------------------

case 'sockets that say nothing are closed', sub {
	for my $client (@silent) {
		my $end = $client->read_status;
		return "got $end" if $end ne 'eof' && $end ne '408';
	}
	return undef;
};
case 'requests that come by the byte are closed', sub {
	for my $client (@slow) {
		my $end = $client->read_status;
		return "got $end after $sent_of_request bytes" if $end ne 'eof' && $end ne '408' && $end ne '400';
	}
	return undef;
};
case 'connections without hello are closed', sub {
	for my $client (@mute) {
		my $wrong = wanted($client->closing, 4009);
		return $wrong if defined $wrong;
	}
	return undef;
};
case 'one address does not get all sockets', sub {
	my @clients = map { AgentClient->connect } 1 .. 700;
	# Beyond the limit they are closed without an answer.
	my $extra = AgentClient->connect;
	$extra->send_raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") if defined $extra;
	my $end = defined $extra ? $extra->read_status : 'eof';
	my $took = $good->beat;
	$_->hang_up for grep { defined } @clients;
	my $again;
	for (my $i = 0; $i < 50 && ($again // '') ne '200'; $i++) {
		my $client = AgentClient->connect;
		$client->send_raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
		$again = $client->read_status;
		sleep(0.1) if $again ne '200';
	}
	return wanted($end, 'eof') // served($took) // wanted($again, 200);
};

# ---- a log store that stands still, or refuses ------------------------------

# More attempts on one client than its share of the bridge's memory has room for,
# each with all the log that the credit allows.
use constant { BUSY_TASKS => 70, LOG_PIECES => 4, PIECE => 65536, OFFLINE_AFTER => 16 };

# All pieces of a log from an offset on.
sub send_log
{
	my ($client, $fence, $from) = @_;
	$client->send_messages(map { message(LOG, %$fence, state => 1, value => $_ * PIECE, body => chr(97 + $_) x PIECE) } $from / PIECE .. LOG_PIECES - 1);
}

# As agents do: what is not acknowledged is sent again, until all of it is.
sub send_logs_until_acknowledged
{
	my ($client, @fences) = @_;
	my %acknowledged = map { $_->{task} => 0 } @fences;
	my $until = time + 60;
	while (time < $until) {
		my @left = grep { $acknowledged{$_->{task}} < LOG_PIECES * PIECE } @fences;
		return undef if !@left;
		send_log($client, $_, $acknowledged{$_->{task}}) for @left;
		while (1) {
			my $m = $client->wait_for(AgentClient::LOG_ACK, 2);
			last if ($m->{end} // '') eq 'timeout';
			return "the client that logs was closed: $m->{end}" if exists $m->{end};
			$acknowledged{$m->{task}} = $m->{value} if $m->{value} > $acknowledged{$m->{task}};
		}
	}
	return 'its logs were not taken in time';
}

# Exactly the bytes that were sent, of each.
sub logs_are_complete
{
	my (@fences) = @_;
	my $tasks = join(',', map { $_->{task} } @fences);
	my $exact = sql("SELECT count(*) FROM (SELECT md5(string_agg(bytes, '' ORDER BY \"offset\")) AS sum FROM unidesk_data.log_piece WHERE task_id IN ($tasks) GROUP BY task_id) s
		WHERE sum = md5((SELECT convert_to(string_agg(repeat(chr(97 + n), @{[PIECE]}), '' ORDER BY n), 'UTF8') FROM generate_series(0, @{[LOG_PIECES - 1]}) n))");
	return wanted($exact, scalar @fences);
}

# What these cases made is not to be hashed by all that follow.
sub end_attempts
{
	my ($client, @fences) = @_;
	my $end = LOG_PIECES * PIECE;
	$client->send_messages(map { message(REPORT, %$_, state => 7, sequence => 2, body => qq({"exit_code":0,"log_end":$end})) } @fences);
	for (@fences) { last if exists $client->wait_for(AgentClient::REPORT_ACK)->{end} }
	sql('DELETE FROM unidesk_data.log_chunk');
}

my $busy = new_node('busy', resources => '{"cpus_milli":8000,"memory":17179869184,"disk":50000000000,"gpus":[]}');
my @attempts = defined $busy ? running_attempts($busy, 'busy', BUSY_TASKS) : ();

case 'a log store that stands still holds back no beat, no result and no silent node', sub {
	return 'no attempts run' if @attempts != BUSY_TASKS;
	sql("ALTER SYSTEM SET unidesk.beat_interval = '2s'");
	sql("ALTER SYSTEM SET unidesk.offline_after = '@{[OFFLINE_AFTER]}s'");
	sql('SELECT pg_reload_conf()');
	open(my $holder, '|-', "$ENV{PG_BIN}/psql", '-XAtq') or return 'no psql';
	$holder->autoflush;
	print $holder "BEGIN;\nLOCK TABLE unidesk_data.log_chunk IN ACCESS EXCLUSIVE MODE;\n";
	for (1 .. 100) {
		last if sql("SELECT count(*) FROM pg_locks WHERE relation = 'unidesk_data.log_chunk'::regclass AND mode = 'AccessExclusiveLock' AND granted") eq '1';
		sleep(0.1);
	}
	# Heard of once, and then not again.
	my $mute = new_node('mute') // return 'no session for the node that falls silent';
	my $silent_since = time;
	send_log($busy, $_, 0) for @attempts;
	my $log_end = LOG_PIECES * PIECE;
	$busy->send_messages(message(REPORT, %{ $attempts[0] }, state => 7, sequence => 2, body => qq({"exit_code":0,"log_end":$log_end})));
	my $committed = $busy->wait_for(AgentClient::REPORT_ACK, SERVED);
	my ($beaten, $beat) = (0, 0);
	my ($worst, $offline) = while_flooding(sub {
		if (time - $beaten > 1) {
			$beaten = time;
			$beat = $busy->beat;
			return "the client that logs was answered $beat" if $beat !~ /^[0-9.]+$/;
		}
		sleep(0.05);
		return sql("SELECT status FROM unidesk.nodes WHERE name = 'mute'") eq 'offline' ? 'offline' : undef;
	}, 40);
	printf "# the silent node was offline after %.1f s of %d\n", time - $silent_since, OFFLINE_AFTER;
	my $late = time - $silent_since - OFFLINE_AFTER;
	my $held = sql("SELECT count(*) FROM pg_locks WHERE relation = 'unidesk_data.log_chunk'::regclass AND mode = 'AccessExclusiveLock' AND granted");
	print $holder "COMMIT;\n";
	close($holder);
	$mute->hang_up;
	# Remove it, and its task is over.
	return wanted($committed->{flags} // $committed->{end}, 5) // wanted($offline, 'offline') // wanted($held, 1)
		// ($late < SERVED ? undef : "the silent node was offline $late s late") // served($worst)
		// send_logs_until_acknowledged($busy, @attempts) // logs_are_complete(@attempts);
}, changes => 1;

case 'a log store that refuses one log refuses only that, and the client stays', sub {
	my ($refused, $other) = @attempts[1, 2];
	return 'no attempts run' if !defined $other;
	sql('DELETE FROM unidesk_data.log_chunk');
	sql("ALTER TABLE unidesk_data.log_chunk ADD CONSTRAINT broken CHECK (task_id <> $refused->{task})");
	send_log($busy, $_, 0) for $refused, $other;
	my %answered;
	my $m;
	until (($answered{$other->{task}} // 0) == LOG_PIECES * PIECE || exists(($m = $busy->wait_for(AgentClient::LOG_ACK))->{end})) {
		$answered{$m->{task}} = $m->{value} if defined $m;
	}
	my $beat = $busy->beat;
	sql('ALTER TABLE unidesk_data.log_chunk DROP CONSTRAINT broken');
	return wanted($answered{$other->{task}}, LOG_PIECES * PIECE) // wanted($answered{$refused->{task}}, 0, 'nothing')
		// ($beat =~ /^[0-9.]+$/ ? undef : "the client was answered $beat")
		// send_logs_until_acknowledged($busy, $refused) // logs_are_complete($refused, $other);
}, changes => 1;

case 'what these have changed is as it was', sub {
	end_attempts($busy, @attempts) if defined $busy;
	sql("ALTER SYSTEM RESET unidesk.beat_interval");
	sql("ALTER SYSTEM RESET unidesk.offline_after");
	sql('SELECT pg_reload_conf()');
	return wanted(sql('SELECT count(*) FROM unidesk_data.live l JOIN unidesk_data.node n ON n.id = l.node_id WHERE n.name = \'busy\''), 0);
}, changes => 1;
