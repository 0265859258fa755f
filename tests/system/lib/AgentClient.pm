# AgentClient.pm
#	A client of unidesk.agent.v1 that may break every rule: raw bytes, raw
#	WebSocket frames, raw protocol frames.  Core modules only.
#
# All waiting has a limit, after which "timeout" is the answer; nothing here
# decides whether an answer is right.
package AgentClient;

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use constant {
	HELLO => 1, INVENTORY => 2, BEAT => 3, REPORT => 4, LOG => 5, AGENT_ERROR => 8,
	WELCOME => 129, DESIRED => 131, BEAT_ACK => 132, REPORT_ACK => 133, LOG_ACK => 134, ERROR => 140,
	TEXT => 1, BINARY => 2, CLOSE => 8, PING => 9, PONG => 10,
};
use constant PATIENCE => 15;

# Port of the bridge, set by the script.
our $port;

sub connect
{
	my ($class, %option) = @_;
	my $socket = IO::Socket::INET->new(
		PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp', Timeout => PATIENCE, %option)
		or return undef;
	binmode($socket);
	return bless { socket => $socket, in => '', session => 0, messages => [], beats => 0 }, $class;
}

sub hang_up { my $self = shift; close($self->{socket}); }

# All of it, unless the other side goes or does not read for too long.
sub send_raw
{
	my ($self, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	my $select = IO::Select->new($self->{socket});
	while (length $bytes) {
		$select->can_write(PATIENCE) or return 0;
		my $sent = syswrite($self->{socket}, $bytes, 65536) or return 0;
		substr($bytes, 0, $sent) = '';
	}
	return 1;
}

# More bytes into the buffer: "more", "eof" or "timeout".
sub fill
{
	my ($self, $until) = @_;
	my $left = $until - time;
	$left > 0 && IO::Select->new($self->{socket})->can_read($left) or return 'timeout';
	my $got = sysread($self->{socket}, $self->{in}, 65536, length $self->{in});
	return $got ? 'more' : 'eof';
}

# ---- HTTP ------------------------------------------------------------------

# The head of the answer's status, or eof or timeout; the rest stays.
sub read_status
{
	my ($self, $patience) = @_;
	my $until = time + ($patience // PATIENCE);
	my $end;
	while (($end = index($self->{in}, "\r\n\r\n")) < 0) {
		my $state = $self->fill($until);
		return $state if $state ne 'more';
	}
	$self->{head} = substr($self->{in}, 0, $end + 4, '');
	return $self->{head} =~ m{^HTTP/1\.[01] (\d+)} ? $1 : 'no HTTP';
}

# What is asked for by a well-behaved agent; headers can be replaced or, with
# undef, left out.
sub upgrade_text
{
	my (%option) = @_;
	my %header = (
		Host => 'localhost', Upgrade => 'websocket', Connection => 'Upgrade',
		'Sec-WebSocket-Key' => 'AAAAAAAAAAAAAAAAAAAAAA==', 'Sec-WebSocket-Version' => 13,
		'Sec-WebSocket-Protocol' => 'unidesk.agent.v1', %{ $option{headers} // {} });
	$header{Authorization} //= "Bearer $option{token}" if defined $option{token};
	my $method = $option{method} // 'GET';
	my $path = $option{path} // '/agent';
	my $version = $option{version} // 'HTTP/1.1';
	return "$method $path $version\r\n"
		. join('', map { defined $header{$_} ? "$_: $header{$_}\r\n" : '' } sort keys %header) . "\r\n";
}

# A new connection that asks for an upgrade: it, and the status.
sub upgraded
{
	my ($class, %option) = @_;
	my $self = $class->connect or return (undef, 'refused');
	$self->send_raw(upgrade_text(%option));
	return ($self, $self->read_status);
}

# ---- WebSocket frames ------------------------------------------------------

# One frame; fin, rsv, mask and the stated length are the caller's to get wrong.
sub ws_frame
{
	my ($opcode, $payload, %option) = @_;
	my $masked = $option{mask} // 1;
	my $stated = $option{length} // length $payload;
	my $bit = $masked ? 0x80 : 0;
	my $mask = $masked ? pack('N', 0x12345678) : '';
	my $head = pack('C', ($option{fin} // 1) << 7 | ($option{rsv} // 0) << 4 | $opcode);
	if ($option{wide} || $stated > 65535) { $head .= pack('CQ>', 127 | $bit, $stated) }
	elsif ($stated > 125) { $head .= pack('Cn', 126 | $bit, $stated) }
	else { $head .= pack('C', $stated | $bit) }
	$payload ^= substr($mask x (length($payload) / 4 + 1), 0, length $payload) if $masked;
	return $head . $mask . $payload;
}

# The next frame of the server: (opcode, payload), or ("eof") or ("timeout").
sub next_frame
{
	my ($self, $until) = @_;
	while (1) {
		if (length $self->{in} >= 2) {
			my ($first, $length) = unpack('CC', $self->{in});
			my $at = 2;
			$length &= 0x7f;
			if ($length == 126 && length $self->{in} >= 4) { $length = unpack('x2n', $self->{in}); $at = 4 }
			elsif ($length == 127 && length $self->{in} >= 10) { $length = unpack('x2Q>', $self->{in}); $at = 10 }
			elsif ($length > 125) { $length = 2**40 }
			if (length $self->{in} >= $at + $length) {
				my $payload = substr($self->{in}, $at, $length);
				substr($self->{in}, 0, $at + $length) = '';
				return ($first & 0x0f, $payload);
			}
		}
		my $state = $self->fill($until);
		return ($state) if $state ne 'more';
	}
}

# How the server ends this connection: a close code, "eof" without one, or "open".
sub closing
{
	my ($self, $patience) = @_;
	my $until = time + ($patience // PATIENCE);
	while (1) {
		my ($opcode, $payload) = $self->next_frame($until);
		return 'eof' if $opcode eq 'eof';
		return 'open' if $opcode eq 'timeout';
		return length $payload >= 2 ? unpack('n', $payload) : 'close' if $opcode == CLOSE;
	}
}

# ---- protocol frames -------------------------------------------------------

# One message: type, then state, flags, incarnation, task, attempt, sequence,
# value, body; bytes is the stated length.
sub message
{
	my ($type, %field) = @_;
	my $body = $field{body} // '';
	return pack('vCCVq<q<l<Vq<', $type, $field{state} // 0, $field{flags} // 0,
		$field{bytes} // length $body, $field{incarnation} // 0, $field{task} // 0,
		$field{attempt} // 0, $field{sequence} // 0, $field{value} // 0) . $body;
}

# A frame of messages; version, count, bytes and session can be overridden.
sub protocol_frame
{
	my ($self, $messages, %header) = @_;
	my $all = join('', @$messages);
	return pack('CCvVQ<', $header{version} // 1, $header{flags} // 0, $header{count} // scalar @$messages,
		$header{bytes} // 16 + length $all, $header{session} // $self->{session}) . $all;
}

sub send_frame { my ($self, $payload) = @_; return $self->send_raw(ws_frame(BINARY, $payload)); }
sub send_messages { my ($self, @messages) = @_; return $self->send_frame($self->protocol_frame(\@messages)); }

# The next message of the server as a hash; else { end => close code, eof or timeout }.
sub next_message
{
	my ($self, $until) = @_;
	until (@{ $self->{messages} }) {
		my ($opcode, $payload) = $self->next_frame($until);
		return { end => $opcode } if $opcode eq 'eof' || $opcode eq 'timeout';
		return { end => length $payload >= 2 ? unpack('n', $payload) : 'close' } if $opcode == CLOSE;
		$self->send_raw(ws_frame(PONG, $payload)) if $opcode == PING;
		next if $opcode != BINARY;
		my ($count, $session) = unpack('x2vx4Q<', $payload);
		my $at = 16;
		$self->{session} = $session;
		while ($count-- > 0) {
			my %m;
			@m{qw(type state flags bytes incarnation task attempt sequence value)} =
				unpack('vCCVq<q<l<Vq<', substr($payload, $at, 40));
			$m{body} = substr($payload, $at + 40, $m{bytes});
			$at += 40 + $m{bytes};
			push @{ $self->{messages} }, \%m;
		}
	}
	return shift @{ $self->{messages} };
}

# The next message of a type; others are passed over.
sub wait_for
{
	my ($self, $type, $patience) = @_;
	my $until = time + ($patience // PATIENCE);
	while (1) {
		my $m = $self->next_message($until);
		return $m if exists $m->{end} || $m->{type} == $type;
	}
}

sub hello_body
{
	my (%field) = @_;
	my $machine = $field{machine} // 'm1';
	my $attempts = $field{attempts} // '[]';
	my $resources = $field{resources} // '{"cpus_milli":4000,"memory":8589934592,"disk":50000000000,"gpus":[]}';
	my $labels = $field{labels} // '{}';
	return qq({"proto_min":1,"proto_max":1,"boot_id":"$machine","engine_id":"$machine","last_rev":0,)
		. qq("resources":$resources,"labels":$labels,"attempts":$attempts});
}

# Upgrade and hello; undef unless welcome comes.
sub open_session
{
	my ($class, %option) = @_;
	my ($self, $status) = $class->upgraded(token => $option{token});
	return undef if $status ne '101';
	$self->send_messages(message(HELLO, body => $option{body} // hello_body(%option)));
	$self->{welcome} = $self->wait_for(WELCOME);
	return exists $self->{welcome}{end} ? undef : $self;
}

# Seconds until a beat is acknowledged, or what came instead.
sub beat
{
	my ($self, $patience) = @_;
	my $began = time;
	my $until = $began + ($patience // PATIENCE);
	my $number = ++$self->{beats};
	$self->send_messages(message(BEAT, sequence => $number, body => '{"load":0.1,"engine":"ok"}'));
	while (1) {
		my $m = $self->wait_for(BEAT_ACK, $until - time);
		return $m->{end} if exists $m->{end};
		return time - $began if $m->{sequence} == $number;
	}
}

1;
