# Hostile.pm
#	What the scripts of the suite websocket share: cases, and what has to hold
#	after each of them, whatever it was that the bridge was sent.
#
#	- the bridge is the same process;
#	- another node's session is served, and how fast;
#	- no row of tasks, attempts, logs or nodes has changed;
#	- neither the bridge nor the server has put the client's bytes, or a token,
#	  into its log.
#
# From the environment (websocket.sh): PORT, BRIDGE_PID, BRIDGE_LOG, TOKEN_GOOD,
# TOKEN_VICTIM, TOKENS_EVIL, and what tools/private_pg.sh exports.  There are
# several evil nodes, because one alone would be held off for connecting so often;
# each case uses the next.
package Hostile;

use strict;
use warnings;
use IPC::Open2;
use Time::HiRes qw(sleep);
use Exporter 'import';
use AgentClient;

our @EXPORT = qw(sql case wanted new_node running_attempts evil evil_token $good $slowest CANARY);

# In many cases, and never in a log.
use constant CANARY => 'RAWCANARY';

our ($good, $slowest) = (undef, 0);
my %log_at = ($ENV{BRIDGE_LOG} => 0, $ENV{PG_LOG} => 0);
my ($from_psql, $to_psql);
my $failed = 0;
our @evil = split ' ', $ENV{TOKENS_EVIL};

$AgentClient::port = $ENV{PORT};
$| = 1;
my $psql;
psql_start();

# One psql for all statements; again after the server was away.
sub psql_start
{
	if (defined $psql) {
		close($to_psql);
		waitpid($psql, 0);
	}
	$psql = open2($from_psql, $to_psql, "$ENV{PG_BIN}/psql", '-XAtq');
}

# The one value of a statement.
sub sql
{
	my ($statement) = @_;
	my $answer = '';
	print $to_psql "$statement;\n\\echo end-of-answer\n";
	$to_psql->flush;
	while (defined(my $line = <$from_psql>)) {
		last if $line eq "end-of-answer\n";
		$answer .= $line;
	}
	chomp $answer;
	return $answer;
}

# Everything that a hostile agent must not be able to change; its own sessions
# come and go.
sub rows
{
	return sql(q{
		SELECT md5(concat_ws('#',
			(SELECT string_agg(l::text, ',' ORDER BY l.task_id) FROM unidesk_data.live l),
			(SELECT string_agg(t::text, ',' ORDER BY t.id) FROM unidesk_data.task t),
			(SELECT string_agg(a::text, ',' ORDER BY a.task_id, a.attempt) FROM unidesk_data.attempt a),
			(SELECT string_agg(h::text, ',' ORDER BY h.task_id) FROM unidesk_data.held h),
			(SELECT string_agg(c::text, ',' ORDER BY c.task_id, c."offset") FROM unidesk_data.log_chunk c),
			(SELECT string_agg(u::text, ',' ORDER BY u.node_id) FROM unidesk_data.node_use u),
			(SELECT string_agg(g::text, ',' ORDER BY g.node_id, g.index) FROM unidesk_data.gpu g),
			(SELECT string_agg((to_jsonb(n) - CASE WHEN name LIKE 'evil%' THEN ARRAY['session', 'bridge_id', 'reconciled', 'refused'] ELSE '{}' END)::text, ',' ORDER BY n.id)
				FROM unidesk_data.node n)))});
}

sub same_bridge { return kill(0, $ENV{BRIDGE_PID}) ? undef : 'the bridge is gone'; }

# What has come into the logs since the last call, or undef when it is clean.
sub raw_in_logs
{
	for my $file (sort keys %log_at) {
		open(my $log, '<', $file) or return "no $file";
		seek($log, $log_at{$file}, 0);
		local $/;
		my $text = <$log> // '';
		$log_at{$file} += length $text;
		for my $secret (CANARY, @ENV{qw(TOKEN_GOOD TOKEN_VICTIM)}, @evil) {
			return "$file holds what a client sent" if index($text, $secret) >= 0;
		}
		return sprintf('%s holds the byte %02x', $file, ord $1) if $text =~ /([^\t\n\x20-\x7e])/;
	}
	return undef;
}

sub good_client
{
	$good //= AgentClient->open_session(token => $ENV{TOKEN_GOOD}, machine => 'good') // return 'the good client got no session';
	my $took = $good->beat;
	return "the good client was answered $took" if $took !~ /^[0-9.]+$/ || $took > AgentClient::PATIENCE;
	$slowest = $took if $took > $slowest;
	return undef;
}

# case NAME, CODE: CODE returns undef when the answer was right, else what was
# wrong.  With changes => 1 rows may change, because CODE itself does it.
sub case
{
	my ($name, $code, %option) = @_;
	my $before = rows();
	push @evil, shift @evil;
	my $wrong = $code->() // same_bridge() // good_client() // raw_in_logs();
	$wrong //= 'rows have changed' if !$option{changes} && rows() ne $before;
	if (defined $wrong) {
		$failed = 1;
		$wrong =~ s/[^\x20-\x7e]/?/g;
		print "not ok $name ($wrong)\n";
	} else {
		print "ok $name\n";
	}
}

# wanted GOT, RIGHT...: undef when it is one of them.
sub wanted
{
	my ($got, @right) = @_;
	$got //= 'nothing';
	return (grep { $_ eq $got } @right) ? undef : "wanted @right, got $got";
}

# This case's hostile node: its token, and a session of it.
sub evil_token { return $evil[0]; }
sub evil { return AgentClient->open_session(token => $evil[0], machine => 'evil', @_) // die "the evil node got no session\n"; }

# A session of a new node; its token is known to the bridge a moment later.
sub new_node
{
	my ($name, %option) = @_;
	my $token = sql("SELECT unidesk.create_node('$name')");
	for (1 .. 50) {
		my $client = AgentClient->open_session(token => $token, machine => $name, labels => qq({"node":"$name"}), %option);
		return $client if defined $client;
		sleep(0.1);
	}
	return undef;
}

# The fences of as many attempts, all running on a new node's client.
sub running_attempts
{
	my ($client, $name, $count) = @_;
	sql("SELECT unidesk.create_project('$name')");
	sql(qq{SELECT count(unidesk.submit_task('$name', 'https://git.example/code.git', repeat('a', 40), 'https://git.example/env.git', repeat('b', 40),
		'Dockerfile', ARRAY['true'], labels => '{"node": "$name"}', cpus => 0.01, memory => 16777216)) FROM generate_series(1, $count)});
	my @fences;
	while (@fences < $count) {
		my $m = $client->wait_for(AgentClient::DESIRED);
		return () if exists $m->{end};
		push @fences, { incarnation => $m->{incarnation}, task => $m->{task}, attempt => $m->{attempt} } if $m->{state} == 1;
	}
	$client->send_messages(map { AgentClient::message(AgentClient::REPORT, %$_, state => 4, sequence => 1) } @fences);
	for (@fences) { return () if exists $client->wait_for(AgentClient::REPORT_ACK)->{end} }
	return @fences;
}

END {
	if (defined $psql) {
		close($to_psql);
		waitpid($psql, 0);
		$? = $failed;
	}
}

die "no good client\n" if defined good_client();
for (@evil) {
	evil()->hang_up;
	push @evil, shift @evil;
}
raw_in_logs();

1;
