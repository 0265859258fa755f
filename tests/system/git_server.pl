#!/usr/bin/perl
#
# git_server.pl ROOT [ADDRESS]
#	  Git over smart HTTP for the tests: `git http-backend` behind the smallest
#	  server that can call it.  Prints its port on ADDRESS (127.0.0.1), then
#	  serves the repositories below ROOT until it is killed.  One child per connection.
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
	my ($client, $backend) = @_;
	my $status = '200 OK';
	my $head = '';

	while (defined(my $line = <$backend>)) {
		$line =~ s/\r?\n$//;
		last if $line eq '';
		if ($line =~ /^Status: (.*)/) { $status = $1 } else { $head .= "$line\r\n" }
	}
	print $client "HTTP/1.1 $status\r\n${head}Connection: close\r\n\r\n";
	while (read($backend, my $bytes, 65536)) {
		print $client $bytes;
	}
}

sub serve
{
	my $client = shift;
	my ($method, $target) = (<$client> // '') =~ m{^(GET|POST) (/\S*) HTTP/1\.[01]\r?$} or return;
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

	my ($path, $query) = split /\?/, $target, 2;
	local %ENV = (%ENV,
		GIT_PROJECT_ROOT => $root, GIT_HTTP_EXPORT_ALL => 1,
		REQUEST_METHOD => $method, PATH_INFO => $path, QUERY_STRING => $query // '',
		CONTENT_TYPE => $header{'content-type'} // '', REMOTE_ADDR => '127.0.0.1',
		HTTP_CONTENT_ENCODING => $header{'content-encoding'} // '',
		GIT_PROTOCOL => $header{'git-protocol'} // '');
	delete $ENV{HTTP_CONTENT_ENCODING} if $ENV{HTTP_CONTENT_ENCODING} eq '';
	delete $ENV{GIT_PROTOCOL} if $ENV{GIT_PROTOCOL} eq '';
	my $pid = open(my $backend, '-|') // die "git_server.pl: could not fork: $!\n";
	if ($pid == 0) {
		open(STDIN, '<&', $input) or die;
		exec('git', 'http-backend') or die "git_server.pl: could not run git: $!\n";
	}
	binmode($backend);
	relay($client, $backend);
}

while (1) {
	my $client = $server->accept or next;
	my $pid = fork() // next;
	if ($pid == 0) {
		# serve waits for its own child.
		$SIG{CHLD} = 'DEFAULT';
		$SIG{PIPE} = 'DEFAULT';
		close $server;
		alarm 300;
		binmode($client);
		serve($client);
		exit 0;
	}
	close $client;
}
