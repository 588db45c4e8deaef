"""What template.yaml deploys, resource by resource and in every mode."""

import json
import re

import pytest
from template.stack import FUNCTION, KEY, MODES, SECRET, Stack, equals, notifications, rights, texts

from replicate.protocol.mapping import Tags
from replicate.protocol.plan import Overwrite, Policy
from replicate.settings import Settings
from tools.local.template import ALIAS, Resource, document, parameters


class TestFunction:
    def test_runs_the_handler_as_long_as_lambda_lets_it(self, stack: Stack) -> None:
        function = stack.properties("ReplicateFunction")

        assert function["Handler"] == "replicate.handler.lambda_handler"
        assert function["Runtime"] == "python3.13"
        assert function["Timeout"] == 900
        assert function["Architectures"] == ["x86_64"]
        assert function["MemorySize"] == 1024
        assert "ReservedConcurrentExecutions" not in function

    def test_architecture_memory_and_concurrency_are_parameters(self) -> None:
        stack = Stack(Architecture="arm64", MemorySize=2048, ReservedConcurrency=5)

        function = stack.properties("ReplicateFunction")

        assert function["Architectures"] == ["arm64"]
        assert function["MemorySize"] == 2048
        assert function["ReservedConcurrentExecutions"] == 5

    def test_environment_is_what_the_settings_read(self) -> None:
        stack = Stack(
            GcsKeyPrefix="backup/",
            StorageClassMap="STANDARD_IA=NEARLINE",
            ReplicateDeletes="true",
            ReplicateLifecycleDeletes="true",
            ReplicateTags="metadata",
        )
        variables = stack.properties("ReplicateFunction")["Environment"]["Variables"]

        settings = Settings.from_environ({**variables, "AWS_REGION": "eu-central-1"})

        assert settings.naming.bucket == "replica"
        assert settings.naming.prefix == "backup/"
        assert settings.credentials_secret == SECRET
        assert settings.source_buckets == {"my-source-bucket"}
        assert settings.storage_classes == {"STANDARD_IA": "NEARLINE"}
        assert settings.policy == Policy(Overwrite.CHANGED, deletes=True, tags=Tags.METADATA)
        assert settings.lifecycle_deletes
        assert settings.service == "stack"
        assert settings.metrics_namespace == "S3ToGcs"

    def test_endpoints_are_declared_and_empty_so_that_local_runs_can_set_them(
        self, stack: Stack
    ) -> None:
        variables = stack.properties("ReplicateFunction")["Environment"]["Variables"]

        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "STORAGE_EMULATOR_HOST"):
            assert variables[name] == ""

    def test_logs_go_to_a_group_with_a_retention_and_lines_stay_as_written(self) -> None:
        stack = Stack(LogRetentionDays=7)
        logging = stack.properties("ReplicateFunction")["LoggingConfig"]

        assert logging == {"LogFormat": "Text", "LogGroup": "${FunctionLogGroup}"}
        groups = stack.of_kind("AWS::Logs::LogGroup")
        assert set(groups) == {"FunctionLogGroup", "ApiLogGroup"}
        assert all(group.properties == {"RetentionInDays": 7} for group in groups.values())


class TestRights:
    def test_are_exactly_these(self) -> None:
        assert rights(Stack(Tracing="PassThrough")) == {
            "arn:aws:s3:::my-source-bucket/*": {"s3:GetObject", "s3:GetObjectVersion"},
            "arn:aws:s3:::my-source-bucket": {"s3:ListBucket"},
            SECRET: {"secretsmanager:GetSecretValue"},
            "${FailureQueue.Arn}": {"sqs:SendMessage"},
            "${EventQueue.Arn}": {
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
            },
            "${FunctionLogGroup.Arn}": {"logs:CreateLogStream", "logs:PutLogEvents"},
        }

    def test_tracing_adds_the_two_actions_that_know_no_resources(self) -> None:
        assert rights(Stack(Tracing="Active")) == {
            **rights(Stack(Tracing="PassThrough")),
            "*": {"xray:PutTraceSegments", "xray:PutTelemetryRecords"},
        }

    def test_only_lambda_assumes_the_role(self, stack: Stack) -> None:
        roles = stack.of_kind("AWS::IAM::Role")

        assert set(roles) == {"FunctionRole"}
        assert roles["FunctionRole"].properties["AssumeRolePolicyDocument"]["Statement"] == [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ]
        assert "ManagedPolicyArns" not in roles["FunctionRole"].properties

    def test_tags_add_two_actions_on_the_objects(self) -> None:
        added = {"s3:GetObjectTagging", "s3:GetObjectVersionTagging"}

        for tags in ("contexts", "metadata"):
            objects = rights(Stack(ReplicateTags=tags))["arn:aws:s3:::my-source-bucket/*"]
            assert objects == {"s3:GetObject", "s3:GetObjectVersion", *added}

    @pytest.mark.parametrize("mode", MODES)
    def test_no_action_is_a_wildcard(self, mode: dict[str, str]) -> None:
        assert not [a for actions in rights(Stack(**mode)).values() for a in actions if "*" in a]


class TestWhoMayInvoke:
    def test_only_this_bucket_and_this_route(self, stack: Stack) -> None:
        permissions = stack.of_kind("AWS::Lambda::Permission")

        assert {name: p.properties for name, p in permissions.items()} == {
            "S3MayInvoke": {
                "FunctionName": FUNCTION,
                "Action": "lambda:InvokeFunction",
                "Principal": "s3.amazonaws.com",
                "SourceAccount": "123456789012",
                "SourceArn": "arn:aws:s3:::my-source-bucket",
            },
            "ApiMayInvoke": {
                "FunctionName": FUNCTION,
                "Action": "lambda:InvokeFunction",
                "Principal": "apigateway.amazonaws.com",
                "SourceArn": (
                    "arn:aws:execute-api:eu-central-1:123456789012:${Api}/*/POST/v1/replicate"
                ),
            },
        }

    @pytest.mark.parametrize("mode", MODES)
    def test_every_caller_uses_what_it_is_permitted_to(self, mode: dict[str, str]) -> None:
        stack = Stack(**mode)
        expected = ALIAS if mode["SnapStartVersion"] else FUNCTION

        permitted = {
            p.properties["FunctionName"] for p in stack.of_kind("AWS::Lambda::Permission").values()
        }
        integration = stack.properties("FunctionIntegration")["IntegrationUri"]

        assert permitted == {expected}
        assert {n["Function"] for n in notifications(stack) if "Function" in n} <= {expected}
        assert stack.properties("EventQueueMapping")["FunctionName"] == expected
        assert integration.endswith(f":lambda:path/2015-03-31/functions/{expected}/invocations")
        assert stack.outputs["FunctionArn"] == expected


class TestEvents:
    def test_creation_and_restoration_are_notified(self, stack: Stack) -> None:
        assert notifications(stack) == [
            {"Event": "s3:ObjectCreated:*", "Function": FUNCTION},
            {"Event": "s3:ObjectRestore:Completed", "Function": FUNCTION},
        ]

    @pytest.mark.parametrize(
        ("parameters", "added"),
        [
            ({"ReplicateDeletes": "true"}, ["s3:ObjectRemoved:*"]),
            (
                {"ReplicateDeletes": "true", "ReplicateLifecycleDeletes": "true"},
                ["s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"],
            ),
            ({"ReplicateTags": "contexts"}, ["s3:ObjectTagging:*"]),
        ],
    )
    def test_removals_and_tags_are_notified_only_when_they_are_replicated(
        self, parameters: dict[str, str], added: list[str]
    ) -> None:
        events = [n["Event"] for n in notifications(Stack(**parameters))]

        assert events == ["s3:ObjectCreated:*", "s3:ObjectRestore:Completed", *added]

    def test_lifecycle_deletes_without_deletes_are_refused(self) -> None:
        (rule,) = document()["Rules"].values()

        assert rule["RuleCondition"] == equals("ReplicateLifecycleDeletes", "true")
        assert [a["Assert"] for a in rule["Assertions"]] == [equals("ReplicateDeletes", "true")]

    @pytest.mark.parametrize(
        ("prefix", "suffix", "rules"),
        [
            ("photos/", "", [("prefix", "photos/")]),
            ("", ".jpg", [("suffix", ".jpg")]),
            ("photos/", ".jpg", [("prefix", "photos/"), ("suffix", ".jpg")]),
        ],
    )
    def test_filters_hold_what_is_set_and_no_empty_rule(
        self, prefix: str, suffix: str, rules: list[tuple[str, str]]
    ) -> None:
        everything = {"ReplicateLifecycleDeletes": "true", "ReplicateTags": "contexts"}
        filters = {"SourcePrefix": prefix, "SourceSuffix": suffix, "ReplicateDeletes": "true"}
        expected = {"S3Key": {"Rules": [{"Name": n, "Value": v} for n, v in rules]}}

        for delivery in ("direct", "queue"):
            stack = Stack(Delivery=delivery, **filters, **everything)
            assert [n["Filter"] for n in notifications(stack)] == [expected] * 5

    def test_what_fails_is_tried_three_times_and_then_kept_for_14_days(self, stack: Stack) -> None:
        assert stack.properties("AsyncInvocations") == {
            "FunctionName": "${ReplicateFunction}",
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 2,
            "MaximumEventAgeInSeconds": 21600,
            "DestinationConfig": {"OnFailure": {"Destination": "${FailureQueue.Arn}"}},
        }
        assert stack.properties("FailureQueue") == {
            "MessageRetentionPeriod": 14 * 24 * 60 * 60,
            "SqsManagedSseEnabled": True,
        }


class TestBucket:
    def test_is_private_encrypted_and_outlives_the_stack(self, stack: Stack) -> None:
        bucket = stack.resources["SourceBucket"]

        assert set(bucket.properties["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket.properties["OwnershipControls"] == {
            "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]
        }
        assert "BucketEncryption" in bucket.properties
        for kept in (bucket, stack.resources["SourceBucketPolicy"]):
            assert kept.attributes["DeletionPolicy"] == "RetainExceptOnCreate"
            assert kept.attributes["UpdateReplacePolicy"] == "Retain"

    @pytest.mark.parametrize(
        ("delivery", "permission"), [("direct", "S3MayInvoke"), ("queue", "EventQueuePolicy")]
    )
    def test_is_made_when_s3_may_already_deliver(self, delivery: str, permission: str) -> None:
        resources = Stack(Delivery=delivery).resources

        assert permission in _needed_by("SourceBucket", resources)

    @pytest.mark.parametrize("mode", MODES)
    def test_nothing_waits_for_itself(self, mode: dict[str, str]) -> None:
        """A circle would fail the deployment."""
        resources = Stack(**mode).resources

        for name in resources:
            assert name not in _needed_by(name, resources), name

    def test_takes_encrypted_connections_only(self, stack: Stack) -> None:
        (statement,) = stack.properties("SourceBucketPolicy")["PolicyDocument"]["Statement"]

        assert statement["Effect"] == "Deny"
        assert statement["Principal"] == "*"
        assert statement["Resource"] == ["${SourceBucket.Arn}", "${SourceBucket.Arn}/*"]
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


class TestApi:
    def test_has_one_route_for_signed_requests(self, stack: Stack) -> None:
        routes = stack.of_kind("AWS::ApiGatewayV2::Route")

        assert [r.properties for r in routes.values()] == [
            {
                "ApiId": "${Api}",
                "RouteKey": "POST /v1/replicate",
                "AuthorizationType": "AWS_IAM",
                "Target": "integrations/${FunctionIntegration}",
            }
        ]

    def test_is_open_only_by_an_explicit_parameter(self) -> None:
        stack = Stack(ApiAuthorization="NONE")

        assert stack.properties("ReplicateRoute")["AuthorizationType"] == "NONE"
        assert parameters()["ApiAuthorization"]["Default"] == "AWS_IAM"

    def test_is_throttled_and_logged(self, stack: Stack) -> None:
        stage = stack.properties("ApiStage")

        assert stage["DefaultRouteSettings"] == {
            "ThrottlingRateLimit": 50,
            "ThrottlingBurstLimit": 100,
        }
        assert stage["AccessLogSettings"]["DestinationArn"] == "${ApiLogGroup.Arn}"
        assert json.loads(stage["AccessLogSettings"]["Format"])["status"] == "$context.status"

    def test_throttling_is_a_parameter(self) -> None:
        stage = Stack(ApiRateLimit=5, ApiBurstLimit=7).properties("ApiStage")

        assert stage["DefaultRouteSettings"] == {
            "ThrottlingRateLimit": 5,
            "ThrottlingBurstLimit": 7,
        }

    def test_gives_up_before_the_function_does(self, stack: Stack) -> None:
        """30 seconds is all that API Gateway has; the function goes on and finishes the object."""
        integration = stack.properties("FunctionIntegration")
        function = stack.properties("ReplicateFunction")

        assert integration["PayloadFormatVersion"] == "2.0"
        assert integration["TimeoutInMillis"] <= 30_000
        assert integration["TimeoutInMillis"] < function["Timeout"] * 1000


class TestSnapStart:
    def test_is_off_by_default_and_then_there_are_no_versions(self, stack: Stack) -> None:
        assert stack.properties("ReplicateFunction")["SnapStart"] == {"ApplyOn": "None"}
        assert not stack.of_kind("AWS::Lambda::Version")
        assert not stack.of_kind("AWS::Lambda::Alias")

    def test_publishes_the_version_that_the_parameter_names(self) -> None:
        stack = Stack(SnapStartVersion="2026-11-22")
        function = stack.properties("ReplicateFunction")

        assert function["SnapStart"] == {"ApplyOn": "PublishedVersions"}
        assert function["Description"].endswith("(2026-11-22)")
        assert stack.properties("PublishedVersion")["Description"] == "2026-11-22"
        assert stack.properties("LiveAlias")["FunctionVersion"] == "${PublishedVersion.Version}"
        assert stack.properties("AsyncInvocations")["Qualifier"] == "live"


class TestParameters:
    def test_each_is_described_and_constrained(self) -> None:
        constraints = {"AllowedPattern", "AllowedValues", "MinValue", "MaxLength"}

        for name, parameter in parameters().items():
            assert parameter["Description"], name
            assert constraints & parameter.keys(), name

    def test_all_but_the_three_names_have_a_default(self) -> None:
        needed = {name for name, p in parameters().items() if "Default" not in p}

        assert needed == {"GcsBucketName", "GcpCredentialsSecretArn", "SourceBucketName"}

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("GcsBucketName", "replica.example.com", "gs://replica"),
            ("GcpCredentialsSecretArn", SECRET, '{"type": "service_account"}'),
            ("GcpCredentialsSecretArn", SECRET, SECRET.rpartition("-")[0]),
            ("GcpCredentialsSecretArn", SECRET, "arn:aws:secretsmanager:*:*:secret:*"),
            ("SourceBucketName", "my-source-bucket", "My_Bucket"),
            ("StorageClassMap", "", "STANDARD_IA=WARM"),
            ("StorageClassMap", "STANDARD_IA=NEARLINE,GLACIER_IR=COLDLINE", "STANDARD_IA"),
            ("SnapStartVersion", "2026-11-22.1", "a b"),
            ("SourcePrefix", "a+b/%C3%A4%3D1/", "photos/*"),
            ("SourcePrefix", "a b/ä=1/", "photos\\"),
            ("SourceSuffix", ".jpg", "\\.jpg"),
            ("SecretKmsKeyArn", KEY, KEY.replace("key/", "alias/")),
            ("SourceKmsKeyArn", KEY, "arn:aws:kms:*:*:key/*"),
            ("QueueKmsKeyArn", "", "alias/mine"),
            ("VpcSubnetIds", "subnet-0123456789abcdef0", "vpc-01234567"),
            ("VpcSecurityGroupIds", "sg-01234567", "default"),
            ("AlarmTopicArn", "arn:aws:sns:eu-central-1:123456789012:on-call", "on-call"),
            ("AlarmEmail", "on-call@example.com", "example.com"),
        ],
    )
    def test_patterns_take_good_values_and_no_others(self, name: str, good: str, bad: str) -> None:
        pattern = parameters()[name]["AllowedPattern"]

        assert re.fullmatch(pattern, good)
        assert not re.fullmatch(pattern, bad)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_secret_and_no_wildcard_hides_anywhere(mode: dict[str, str]) -> None:
    """A few stars are meant: keys, the API's stage, who is denied, what has no ARN."""
    stack = Stack(**mode)
    everything = {name: r.properties for name, r in stack.resources.items() if name != "Dashboard"}

    found = set(texts({**everything, "outputs": stack.outputs}))

    assert not [t for t in found if re.search(r"private_key|BEGIN|AKIA", t)]
    assert {t for t in found if "*" in t} <= {
        "*",  # who is denied unencrypted connections; and X-Ray and EC2, see below
        "s3:*",  # what is denied
        "${SourceBucket.Arn}/*",
        "arn:aws:s3:::my-source-bucket/*",
        "arn:aws:execute-api:eu-central-1:123456789012:${Api}/*/POST/v1/replicate",
        "photos/*",  # the pattern of the keys that EventBridge sends
        *(n["Event"] for n in notifications(stack)),
    }
    prefixes = {action.partition(":")[0] for action in rights(stack).get("*", ())}
    assert prefixes <= {"xray", "ec2"}


def _needed_by(name: str, resources: dict[str, Resource]) -> set[str]:
    """Names of all resources that exist before this one does."""
    needed: set[str] = set()
    todo = [name]
    while todo:
        resource = resources[todo.pop()]
        own = {*texts(resource.properties), *texts(resource.attributes)}
        direct = {
            other
            for other in resources
            if any(other in {text, *re.findall(r"\$\{(\w+)", text)} for text in own)
            or (other == "LiveAlias" and any(ALIAS in text for text in own))
        }
        todo.extend(direct - needed)
        needed |= direct
    return needed
