#!/usr/bin/perl
#
# git_server.pl ROOT [ADDRESS]
#	  Git over smart HTTP for the tests: `git http-backend` behind the smallest
#	  server that can call it.  Prints its port on ADDRESS (127.0.0.1), then
#	  serves the repositories below ROOT until it is killed.  One child per connection.
#	  Each answer is a line on stderr: method, target, bytes sent.
#
#	A target's first part may ask for a server that does it wrong:
#	/status-NNN/		that status
#	/status-NNN-after-S/, /status-NNN-date-S/
#						with Retry-After: S, or as the date in S seconds
#	/html/				200, but a page for people
#	/silent/			no answer
#	/drip/				an endless header, a byte a second
#	/elsewhere/, /metadata/, /port/, /aside/
#						a redirect to another name of this machine, to where a
#						cloud keeps its keys, to another port, to another path
#	/cut/, /stall/		the answer ends, or stops, in the middle of the pack
#	/v2/status-NNN/		a registry of images that answers so for this one
#	/pack/NAME			the bytes of ROOT/NAME.pack as the pack of the commit in
#						ROOT/NAME.commit, whatever they are
#
# Perl, because git depends on it: it is everywhere these tests can run.
use strict;
use warnings;
use IO::Socket::INET;

my $root = shift or die "usage: git_server.pl ROOT [ADDRESS]\n";
my $address = shift // '127.0.0.1';
$SIG{CHLD} = 'IGNORE';
my $server = IO::Socket::INET->new(
	LocalAddr => $address, LocalPort => 0, Proto => 'tcp', Listen => 64, ReuseAddr => 1)
	or die "git_server.pl: could not listen: $!\n";
$| = 1;
print $server->sockport, "\n";

my $server_pid = $$;
my $sent = 0;

sub answer
{
	my ($client, $bytes) = @_;
	print $client $bytes;
	$sent += length $bytes;
}

# Whole answers of servers that do it wrong.
sub answer_status
{
	my ($client, $status, $headers, $body) = @_;
	answer($client, "HTTP/1.1 $status\r\n${headers}Content-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body");
}

# As long as the server lives, a byte a second or none.
sub hang
{
	my ($client, $byte) = @_;
	$client->flush;
	while (getppid() == $server_pid) {
		sleep 1;
		if (defined $byte) { answer($client, $byte); $client->flush }
	}
}

sub packet { my $bytes = shift; return sprintf('%04x', 4 + length $bytes) . $bytes }

sub slurp
{
	my $path = shift;
	open(my $file, '<:raw', $path) or return '';
	local $/;
	return <$file>;
}

# The two answers of a fetch, around a pack that somebody made.
sub serve_pack
{
	my ($client, $method, $name) = @_;
	my ($commit) = slurp("$root/$name.commit") =~ /^([0-9a-f]{40})/ or return answer_status($client, '404 Not Found', '', '');
	if ($method eq 'GET') {
		my $refs = packet("# service=git-upload-pack\n") . '0000' .
			packet("$commit HEAD\0side-band-64k ofs-delta allow-tip-sha1-in-want allow-reachable-sha1-in-want agent=test\n") .
			packet("$commit refs/heads/main\n") . '0000';
		return answer_status($client, '200 OK', "Content-Type: application/x-git-upload-pack-advertisement\r\n", $refs);
	}
	my $body = packet("NAK\n");
	for (my ($pack, $at) = (slurp("$root/$name.pack"), 0); $at < length $pack; $at += 60000) {
		$body .= packet("\x01" . substr($pack, $at, 60000));
	}
	answer_status($client, '200 OK', "Content-Type: application/x-git-upload-pack-result\r\n", "${body}0000");
}

# As registries say it; a HEAD gets no body.
sub serve_registry
{
	my ($client, $method, $status) = @_;
	my %code = (401 => 'UNAUTHORIZED', 403 => 'DENIED', 404 => 'MANIFEST_UNKNOWN', 429 => 'TOOMANYREQUESTS');
	my $body = !$status ? '{}' : $code{$status} ? qq({"errors":[{"code":"$code{$status}","message":"as asked"}]}) : 'no';
	my $head = 'HTTP/1.1 ' . ($status ? "$status As Asked" : '200 OK') . "\r\nDocker-Distribution-Api-Version: registry/2.0\r\n" .
		"Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n";

	answer($client, $method eq 'HEAD' ? $head : $head . $body);
	return 1;
}

sub http_date
{
	my @t = gmtime shift;
	return sprintf('%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[$t[6]], $t[3],
		(qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[$t[4]], 1900 + $t[5], @t[2, 1, 0]);
}

# True when the target asked for it.
sub serve_wrong
{
	my ($client, $method, $target, $port) = @_;
	return serve_registry($client, $method, $1) if $target =~ m{^/v2/(?:status-(\d+)/.*)?$};
	my ($way, $rest) = $target =~ m{^/(status-\d+(?:-(?:after|date)-\d+)?|html|silent|drip|elsewhere|metadata|port|aside|pack)(/.*)} or return 0;
	my %redirect = (elsewhere => "http://localhost:$port$rest", metadata => "http://169.254.169.254$rest",
		port => "http://127.0.0.1:1$rest", aside => "http://127.0.0.1:$port$rest");

	if ($way =~ /^status-(\d+)/) {
		my ($status) = ($1);
		my $retry = $way =~ /-after-(\d+)/ ? "Retry-After: $1\r\n" : $way =~ /-date-(\d+)/ ? "Retry-After: " . http_date(time + $1) . "\r\n" : '';
		answer_status($client, "$status As Asked", "Content-Type: text/plain\r\n$retry", "no\n");
	} elsif ($way eq 'html') {
		answer_status($client, '200 OK', "Content-Type: text/html\r\n", "<html>Please sign in</html>\n");
	} elsif ($way eq 'silent') {
		hang($client);
	} elsif ($way eq 'drip') {
		answer($client, "HTTP/1.1 200 OK\r\nX-Drip: ");
		hang($client, 'x');
	} elsif ($way eq 'pack') {
		serve_pack($client, $method, $rest =~ m{^/([a-z0-9-]+)/});
	} else {
		answer_status($client, '302 Found', "Location: $redirect{$way}\r\n", '');
	}
	return 1;
}

# The body by its length or in chunks; libgit2 sends either.
sub read_body
{
	my ($client, $header) = @_;
	my $body = '';

	if (lc($header->{'transfer-encoding'} // '') eq 'chunked') {
		while (defined(my $line = <$client>)) {
			my $size = hex($line =~ s/[;\r\n].*//sr);
			read($client, my $chunk, $size) == $size or last;
			$body .= $chunk;
			<$client>;
			last if $size == 0;
		}
	} elsif (my $size = $header->{'content-length'}) {
		read($client, $body, $size);
	}
	return $body;
}

# http-backend's answer: its header lines, an empty one, the rest.
sub relay
{
	my ($client, $backend, $spoil) = @_;
	my $status = '200 OK';
	my $head = '';

	while (defined(my $line = <$backend>)) {
		$line =~ s/\r?\n$//;
		last if $line eq '';
		if ($line =~ /^Status: (.*)/) { $status = $1 } else { $head .= "$line\r\n" }
	}
	answer($client, "HTTP/1.1 $status\r\n${head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
	while (read($backend, my $bytes, 4096)) {
		if ($spoil ne '' && $sent + length $bytes > 20000) {
			answer($client, sprintf("%x\r\n", length $bytes) . substr($bytes, 0, 100));
			hang($client) if $spoil eq 'stall';
			return;
		}
		answer($client, sprintf("%x\r\n", length $bytes) . "$bytes\r\n");
	}
	answer($client, "0\r\n\r\n");
}

sub serve
{
	my $client = shift;
	# A proxy may pass the whole URL on.
	my ($method, $target) = (<$client> // '') =~ m{^(GET|POST|HEAD) (?:http://[^/\s]+)?(/\S*) HTTP/1\.[01]\r?$} or return;
	my %header;
	while (defined(my $line = <$client>)) {
		last if $line =~ /^\r?$/;
		$header{lc $1} = $2 if $line =~ /^([^:]+):\s*(.*?)\r?$/;
	}
	if (lc($header{expect} // '') eq '100-continue') {
		print $client "HTTP/1.1 100 Continue\r\n\r\n";
		$client->flush;
	}
	# In a file: with a pipe two sides could wait for each other.
	open(my $input, '+>', undef) or die "git_server.pl: no temporary file: $!\n";
	binmode($input);
	print $input read_body($client, \%header);
	$input->flush;
	seek($input, 0, 0);

	$SIG{PIPE} = sub { exit 1 };
	serve_request($client, $method, $target, \%header, $input);
	$client->flush;
	syswrite STDERR, "$method $target $sent\n";
}

sub serve_request
{
	my ($client, $method, $target, $header, $input) = @_;

	return if serve_wrong($client, $method, $target, $client->sockport);
	my $spoil = $target =~ s{^/(cut|stall)/}{/} ? $1 : '';
	my ($path, $query) = split /\?/, $target, 2;
	local %ENV = (%ENV,
		GIT_PROJECT_ROOT => $root, GIT_HTTP_EXPORT_ALL => 1,
		REQUEST_METHOD => $method, PATH_INFO => $path, QUERY_STRING => $query // '',
		CONTENT_TYPE => $header->{'content-type'} // '', REMOTE_ADDR => '127.0.0.1',
		HTTP_CONTENT_ENCODING => $header->{'content-encoding'} // '',
		GIT_PROTOCOL => $header->{'git-protocol'} // '');
	delete $ENV{HTTP_CONTENT_ENCODING} if $ENV{HTTP_CONTENT_ENCODING} eq '';
	delete $ENV{GIT_PROTOCOL} if $ENV{GIT_PROTOCOL} eq '';
	my $pid = open(my $backend, '-|') // die "git_server.pl: could not fork: $!\n";
	if ($pid == 0) {
		open(STDIN, '<&', $input) or die;
		exec('git', 'http-backend') or die "git_server.pl: could not run git: $!\n";
	}
	binmode($backend);
	relay($client, $backend, $spoil);
}

while (1) {
	my $client = $server->accept or next;
	my $pid = fork() // next;
	if ($pid == 0) {
		# serve waits for its own child.
		$SIG{CHLD} = 'DEFAULT';

		close $server;
		alarm 300;
		binmode($client);
		serve($client);
		exit 0;
	}
	close $client;
}
