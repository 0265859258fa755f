#!/usr/bin/perl
#
# websocket_handshake.pl
#	  Requests that should not become a connection; run by websocket.sh.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use AgentClient;
use Hostile;

# The status of an upgrade that is wrong in one thing.
sub status_of
{
	my (%option) = @_;
	my ($client, $status) = AgentClient->upgraded(token => evil_token, %option);
	return $status;
}

# The status of a request as text.
sub answer_to
{
	my ($text) = @_;
	my $client = AgentClient->connect or return 'refused';
	$client->send_raw($text);
	return $client->read_status;
}

# A token that nobody knows is asked for again once, then refused for good.
sub refused_token
{
	my ($value) = @_;
	my $status = '503';
	for (my $i = 0; $status eq '503' && $i < 50; $i++) {
		$status = status_of(headers => { Authorization => $value });
		select(undef, undef, undef, 0.1) if $status eq '503';
	}
	return $status;
}

# ---- tokens ----------------------------------------------------------------

case 'no token is 401', sub { wanted(status_of(headers => { Authorization => undef }, token => undef), 401) };
case 'an empty token is 401', sub { wanted(status_of(headers => { Authorization => 'Bearer ' }), 401) };
case 'another scheme is 401', sub { wanted(status_of(headers => { Authorization => 'Basic ' . evil_token }), 401) };
my @wrong = (
	[ 'a wrong token is 401', CANARY . 'x' x 40 ],
	[ 'a token with a byte more is 401', evil_token . 'x' ],
	[ 'a token without its last byte is 401', substr(evil_token, 0, -1) ],
	[ 'a token of bytes that are no text is 401', "\xff\x1b[31m" . 'x' x 40, 400, 'eof' ],
	[ 'a token of 4000 bytes is refused', 'x' x 4000, 400, 'eof' ],
);
# All at once, so that one reading of the map answers them all.
status_of(headers => { Authorization => "Bearer $_->[1]" }) for @wrong;
for my $wrong (@wrong) {
	my ($name, $text, @also) = @$wrong;
	case $name, sub { wanted(refused_token("Bearer $text"), 401, @also) };
}
case 'two tokens are refused', sub {
	my $text = AgentClient::upgrade_text(token => evil_token);
	$text =~ s/\r\n\r\n/\r\nAuthorization: Bearer $ENV{TOKEN_GOOD}\r\n\r\n/;
	wanted(answer_to($text), 401, 400, 503, 'eof');
};
case 'a token in the query is 400', sub {
	wanted(status_of(path => '/agent?token=' . evil_token), 400)
		// wanted(status_of(path => '/agent?access_token=' . evil_token, headers => { Authorization => undef }, token => undef), 400);
};
case 'a token is not taken from a cookie or the subprotocol', sub {
	wanted(status_of(token => undef, headers => { Cookie => 'token=' . evil_token }), 401)
		// wanted(status_of(token => undef, headers => { 'Sec-WebSocket-Protocol' => 'unidesk.agent.v1, ' . evil_token }), 401);
};
case 'a revoked token is refused, and its connection ends', sub {
	my $revoked = sql("SELECT unidesk.create_node('revoked')");
	my $client;
	for (my $i = 0; !defined $client && $i < 50; $i++) {
		$client = AgentClient->open_session(token => $revoked, machine => 'revoked');
		select(undef, undef, undef, 0.1) unless defined $client;
	}
	return 'a new token was not accepted' unless defined $client;
	sql("DELETE FROM unidesk_data.node_use u USING unidesk_data.node n WHERE n.id = u.node_id AND n.name = 'revoked'");
	sql("DELETE FROM unidesk_data.node_live l USING unidesk_data.node n WHERE n.id = l.node_id AND n.name = 'revoked'");
	sql("DELETE FROM unidesk_data.node WHERE name = 'revoked'");
	sql('NOTIFY unidesk_tokens');
	my $code = $client->closing;
	my $status = refused_token("Bearer $revoked");
	return wanted($code, 4003) // wanted($status, 401);
};

# ---- headers of the upgrade ------------------------------------------------

case 'a browser is 403', sub { wanted(status_of(headers => { Origin => 'http://localhost' }), 403) };
case 'no subprotocol is 400', sub { wanted(status_of(headers => { 'Sec-WebSocket-Protocol' => undef }), 400) };
case 'another subprotocol is 400', sub { wanted(status_of(headers => { 'Sec-WebSocket-Protocol' => 'unidesk.agent.v2' }), 400) };
case 'a part of the subprotocol is 400', sub {
	wanted(status_of(headers => { 'Sec-WebSocket-Protocol' => 'unidesk.agent.v' }), 400)
		// wanted(status_of(headers => { 'Sec-WebSocket-Protocol' => 'unidesk.agent.v11' }), 400);
};
case 'names of the bridge\'s own are no subprotocols', sub {
	wanted(status_of(headers => { 'Sec-WebSocket-Protocol' => 'loop' }), 400)
		// wanted(status_of(headers => { 'Sec-WebSocket-Protocol' => 'http' }), 400)
		// wanted(status_of(token => undef, headers => { 'Sec-WebSocket-Protocol' => 'http, unidesk.agent.v1' }), 400, 401, 'eof');
};
case 'a subprotocol list of 10 kB is refused', sub {
	wanted(status_of(headers => { 'Sec-WebSocket-Protocol' => join(',', ('x' x 99) x 100) }), 400, 'eof');
};
case 'WebSocket versions other than 13 are 426', sub {
	for my $version (0, 8, 14, 'x', '-13', '13, 14') {
		my $wrong = wanted(status_of(headers => { 'Sec-WebSocket-Version' => $version }), 426);
		return "$version: $wrong" if defined $wrong;
	}
	return wanted(status_of(headers => { 'Sec-WebSocket-Version' => undef }), 426);
};
case 'no key, or a bad one, is 400', sub {
	wanted(status_of(headers => { 'Sec-WebSocket-Key' => undef }), 400)
		// wanted(status_of(headers => { 'Sec-WebSocket-Key' => '' }), 400)
		// wanted(status_of(headers => { 'Sec-WebSocket-Key' => 'short' }), 400)
		// wanted(status_of(headers => { 'Sec-WebSocket-Key' => 'x' x 1000 }), 400);
};
case 'another upgrade is refused', sub {
	for my $name ('h2c', 'tcp', 'websocketx', CANARY . "\x1b[1m", 'x' x 2000) {
		my $wrong = wanted(status_of(headers => { Upgrade => $name }), 400, 403, 'eof');
		return "$name: $wrong" if defined $wrong;
	}
	return undef;
};
case 'compression is not accepted', sub {
	my ($client, $status) = AgentClient->upgraded(token => evil_token,
		headers => { 'Sec-WebSocket-Extensions' => 'permessage-deflate; client_max_window_bits' });
	return wanted($status, 101) // ($client->{head} =~ /extensions/i ? 'an extension was accepted' : undef);
};

# ---- HTTP ------------------------------------------------------------------

case 'health is told to anybody, and nothing else', sub {
	wanted(answer_to("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), 200)
		// wanted(answer_to("GET /healthz HTTP/1.0\r\n\r\n"), 200)
		// wanted(answer_to("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), 404)
		// wanted(answer_to("GET /agent HTTP/1.1\r\nHost: x\r\n\r\n"), 426);
};
case 'paths are not interpreted', sub {
	for my $path ('/', '//', '/%2e%2e/etc/passwd', '/../etc/passwd', '/agent/', '/agent%00',
		'/%61gent/x', '/agent/../x', '/' . CANARY, '/x%0d%0aX-Injected:%20x', '/' . 'x' x 3000)
	{
		my $wrong = wanted(answer_to("GET $path HTTP/1.1\r\nHost: x\r\n\r\n"), 400, 403, 404, 'eof')
			// wanted(status_of(path => $path), 400, 403, 404, 'eof');
		return substr($path, 0, 40) . ": $wrong" if defined $wrong;
	}
	return undef;
};
case 'a NUL or a control character in the head is refused', sub {
	wanted(answer_to("GET /x\0y HTTP/1.1\r\nHost: x\r\n\r\n"), 400, 403, 404, 'eof')
		// wanted(answer_to("GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: \0\r\n\r\n"), 200, 400, 'eof')
		// wanted(answer_to("GET /\x1b[31m" . CANARY . " HTTP/1.1\r\nHost: x\r\n\r\n"), 400, 403, 404, 'eof');
};
case 'other methods reach nothing', sub {
	for my $method (qw(POST PUT PATCH DELETE HEAD OPTIONS TRACE CONNECT FOO)) {
		my $wrong = wanted(answer_to("$method /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), 400, 403, 404, 405, 501, 'eof')
			// wanted(status_of(method => $method), 400, 403, 404, 405, 501, 'eof');
		return "$method: $wrong" if defined $wrong;
	}
	return wanted(answer_to("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n"), 400, 403, 404, 405, 'eof');
};
case 'absolute and strange targets reach nothing', sub {
	for my $target ('http://127.0.0.1/agent', 'http://evil.example/', '*', 'agent', '') {
		my $wrong = wanted(status_of(path => $target), 400, 403, 404, 'eof');
		return "$target: $wrong" if defined $wrong;
	}
	return undef;
};
case 'an upgrade by HTTP/1.0, or of no version, is refused', sub {
	for my $version ('HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/99999999999999999999', 'x', '') {
		my $wrong = wanted(status_of(version => $version), 400, 403, 404, 426, 505, 'eof');
		return "$version: $wrong" if defined $wrong;
	}
	return undef;
};
case 'an upgrade without Host is refused', sub { wanted(status_of(headers => { Host => undef }), 400, 'eof') };
case 'a head beyond the limit is refused', sub {
	wanted(status_of(headers => { 'X-Filler' => 'x' x 100_000 }), 400, 403, 413, 431, 'eof')
		// wanted(status_of(headers => { map { ("X-$_" => 'y' x 100) } 1 .. 500 }), 400, 403, 413, 431, 'eof');
};
case 'noise instead of a request is refused', sub {
	wanted(answer_to("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . CANARY x 50), 400, 403, 404, 'eof')
		// wanted(answer_to(join('', map { chr(($_ * 7919) & 255) } 1 .. 5000)), 400, 403, 404, 'eof')
		// wanted(answer_to("\r\n" x 5000), 400, 403, 404, 'eof', 'timeout');
};
case 'a body longer or shorter than said reaches nothing', sub {
	wanted(answer_to("POST /agent HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n" . 'x' x 5000), 400, 403, 404, 405, 426, 'eof')
		// wanted(answer_to("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"), 200, 400, 'eof')
		// wanted(answer_to("GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"), 200, 400, 'eof');
};
case 'frames sent before the answer to the upgrade do no harm', sub {
	# RFC 6455 forbids it; libwebsockets 4.1 may lose or garble them.
	my $client = AgentClient->connect;
	$client->send_raw(AgentClient::upgrade_text(token => evil_token) . AgentClient::ws_frame(AgentClient::BINARY, CANARY x 1000));
	return wanted($client->read_status, 101) // wanted($client->closing, 1002, 4009, 'eof');
};
case 'an upgrade byte by byte works', sub {
	my $client = AgentClient->connect;
	for my $byte (split //, AgentClient::upgrade_text(token => evil_token)) {
		$client->send_raw($byte);
	}
	return wanted($client->read_status, 101);
};
